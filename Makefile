# Names for the scripts; what they do is said in the scripts.
.PHONY: setup quickstart test test-long chaos lock extras

setup:
	./cluster/setup.sh dev

quickstart:
	./cluster/quickstart.sh

test:
	./tests/run.sh

test-long:
	./tests/run.sh --long

chaos:
	. .venv/bin/activate && kv chaos suite --out chaos-suite

lock:
	./.ci/lock

extras:
	./cluster/install-extras.sh
