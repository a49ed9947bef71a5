"""`python -m langchain_ldai`: the command `langchain-ldai`."""

import sys

from langchain_ldai._cli import main

if __name__ == "__main__":
    sys.exit(main())
