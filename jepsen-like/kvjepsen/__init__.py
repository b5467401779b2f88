"""The harness: it puts load on a real cluster, breaks it, and checks that it kept what it promised."""
