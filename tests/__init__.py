"""The tests mirror the tree: serving/http/batch.py is tested in tests/serving/http/test_batch.py.

`make test` runs every test without a marker: what a change could break, in minutes, even on a busy machine.
e2e/      real processes on the full-size demo checkpoint
support/  code that several folders share; conftest.py names the tests that stay in one worker
hostile/  promises under attack and load: `make hostile` runs the tests marked `hostile`, in any folder
scale/    Ray, PostgreSQL, several processes: `make scale-test` runs the long tests, marked `scale`
"""
