"""A federation's record as one page that anybody can read: facts, and what makes a page of them. Both are pure.

`facts` gathers what ledger, store and audit say. `page` puts it in order; it stands on `tables`, `charts` and, below
all, `markup`, which escapes whatever is text. `gas` says what the rounds cost. The page needs no network and no script.
"""

from fedpact.report.facts import Report, gather
from fedpact.report.page import page

__all__ = ["Report", "gather", "page"]
