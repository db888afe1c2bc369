"""The report: what a workspace holds, as one page, CSV and LaTeX.

    files → `inputs` → `models` (seeds, tests) → `verdict`, `sections` → `document`
                                                         → `html`, `latex`, `text_tables`

`document` is what stands in between: sections of tables and figures that know where they come from.
Sections know nothing of HTML; what writes knows nothing of models.
"""
