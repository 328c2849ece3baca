"""First step: the raw data, as any program would write it. Each attempt names its log after the moment, as programs do."""

import csv
import os
import sys
import time

os.makedirs("outputs/raw", exist_ok=True)
with open("outputs/raw/orders.csv", "w", newline="") as f:
    table = csv.writer(f)
    table.writerow(["order", "region", "amount"])
    for n in range(1000):
        table.writerow([n, ("north", "south", "west")[n % 3], n * 7 % 1000])
with open(f"outputs/extract_{time.time_ns()}.log", "w") as log:
    log.write("1000 orders\n")
# The source is not always there: the first attempt fails after half of its work, the next one succeeds.
if not os.path.exists("source-is-up"):
    open("source-is-up", "w").close()
    sys.exit("extract: the source went away")
