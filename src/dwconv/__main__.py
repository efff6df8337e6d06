"""`python -m dwconv` is `dwconv`."""

from dwconv.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
