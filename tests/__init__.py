"""The tests mirror the tree: serving/http/batch.py is tested in tests/serving/http/test_batch.py.

`make test` runs all that has no marker: what a change could break, in minutes, on a machine that may be busy.
e2e/      real processes on the full-size demo checkpoint
support/  what several folders share; conftest.py names the tests that stay in one worker
hostile/  promises under attack and load: the marker `hostile`, wherever the test is, for `make hostile`
scale/    Ray, PostgreSQL, several processes: the marker `scale` is for the long tests, for `make scale-test`
"""
