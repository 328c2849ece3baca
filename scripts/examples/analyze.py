"""Second step: a report out of the raw data."""

import collections
import csv
import json

totals = collections.Counter()
with open("outputs/raw/orders.csv", newline="") as f:
    for row in csv.DictReader(f):
        totals[row["region"]] += int(row["amount"])
with open("outputs/totals.json", "w") as f:
    json.dump(totals, f, indent=2, sort_keys=True)
with open("outputs/report.md", "w") as f:
    f.write("# Orders by region\n\n| region | amount |\n|---|---:|\n")
    f.writelines(f"| {region} | {amount} |\n" for region, amount in sorted(totals.items()))
