"""Print the JSON Schema of a report: ``python -m lcaudit.reports > report-1.schema.json``."""

from __future__ import annotations

import sys

from lcaudit.reports._schema import schema_text

sys.stdout.write(schema_text())
