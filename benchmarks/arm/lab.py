"""The Arm lab's command line: python benchmarks/arm/lab.py --help"""

import sys

from edgecap_bench.arm.command import main

if __name__ == "__main__":
    sys.exit(main())
