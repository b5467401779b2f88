"""Scripts that drive the engine as it is published. They import nothing of this project, and print one JSON object."""
