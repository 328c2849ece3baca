//! Tables, charts, documents.

use super::programs;

programs! {
    pandas_and_pyarrow:
        r#"python3 - <<'P'
import pandas as pd
df = pd.DataFrame({"n": range(50_000), "s": [f"row {i}" for i in range(50_000)]})
df.to_parquet("t.parquet"); df.head(100).to_csv("t.csv", index=False); df.head(10).to_json("t.json")
P"#,
        leaves &["t.parquet", "t.csv", "t.json"],
        proof r#"python3 - <<'P'
import json, pyarrow.parquet as pq
t = pq.read_table("t.parquet"); assert t.num_rows == 50_000 and t["s"][49_999].as_py() == "row 49999"
assert len(open("t.csv").read().splitlines()) == 101 and json.load(open("t.json"))["n"]["9"] == 9
P"#;
    matplotlib_and_pillow:
        r#"python3 - <<'P'
import matplotlib; matplotlib.use("agg")
import matplotlib.pyplot as plt
plt.plot([1, 4, 2]); plt.savefig("chart.png"); plt.savefig("chart.pdf")
from PIL import Image
im = Image.open("chart.png"); im.thumbnail((64, 64)); im.convert("RGB").save("thumb.jpg", quality=90)
P"#,
        leaves &["chart.png", "chart.pdf", "thumb.jpg"],
        proof r#"[ "$(head -c 5 chart.pdf)" = %PDF- ]; tail -c 6 chart.pdf | grep -q EOF; python3 -c '
from PIL import Image
assert Image.open("chart.png").size == (640, 480) and max(Image.open("thumb.jpg").size) == 64; Image.open("chart.png").verify()'"#;
    openpyxl_and_libreoffice:
        r#"python3 -c '
import openpyxl
w = openpyxl.Workbook(); s = w.active
for n in range(100): s.append([n, f"cell {n}", n * 1.5])
w.save("book.xlsx"); s["A1"] = 4711; w.save("book.xlsx")'
           soffice -env:UserInstallation=file:///tmp/$$-office --headless --convert-to pdf book.xlsx > /dev/null 2>&1; rm -r /tmp/$$-office"#,
        leaves &["book.xlsx", "book.pdf"],
        proof r#"[ "$(head -c 5 book.pdf)" = %PDF- ]; python3 -c '
import openpyxl; s = openpyxl.load_workbook("book.xlsx").active; assert s["A1"].value == 4711 and s["B100"].value == "cell 99"'"#;
    chromium_screenshot_and_pdf:
        r#"printf '<h1 style="background:red">hello</h1>' > page.html
           flags="--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-component-update --disable-sync --user-data-dir=/tmp/$$-chromium"
           chromium $flags --screenshot=shot.png --window-size=300,200 "file://$PWD/page.html" > /dev/null 2>&1
           chromium $flags --print-to-pdf=page.pdf "file://$PWD/page.html" > /dev/null 2>&1; rm -rf /tmp/$$-chromium"#,
        leaves &["page.html", "shot.png", "page.pdf"],
        proof r#"[ "$(head -c 5 page.pdf)" = %PDF- ]; python3 -c '
from PIL import Image
im = Image.open("shot.png").convert("RGB"); assert im.size == (300, 200) and im.getpixel((150, 30)) == (255, 0, 0), im.getpixel((150, 30))'"#;
}
