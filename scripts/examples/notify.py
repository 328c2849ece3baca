"""Third step: tells a person where the report is. (A real one would send it.)"""

import sys

print(f"The report is ready: {sys.argv[1]}")
