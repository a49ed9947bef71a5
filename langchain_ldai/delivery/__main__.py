"""`python -m langchain_ldai.delivery DIRECTORY status | drain [--follow] | dead`."""

import sys

from langchain_ldai.delivery._command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
