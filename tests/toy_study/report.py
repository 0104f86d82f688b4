from groundglass.report.drawing import Folder
from groundglass.report.section import Finding, Section, Verdict
from groundglass.report.table import Amount, Row, Table
from groundglass.report.words import each
from groundglass.results import Run


def tables(run: Run) -> list[Table]:
    rows = [
        Row(f"class {row.label}", (Amount(row.brightness, "{:.2f}".format),)) for row in each(run.frame("brightness"))
    ]
    return [Table("Brightness", "class", ("mean pixel",), tuple(rows))]


def section(run: Run, drawings: Folder) -> Section | None:
    frame = run.frame("brightness")
    brightest = frame.loc[frame["brightness"].idxmax()]
    verdict = Verdict(Finding.HOLDS, {"label": int(brightest["label"])}, n_images=int(frame["n_images"].sum()))
    return Section("Brightness", verdict, tables=tuple(tables(run)))
