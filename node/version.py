"""Which program this is. A test holds it against pyproject.toml; reading that, or the installed metadata, would cost
every start and every node more than this line does.
"""

from __future__ import annotations

VERSION = "0.1.0"
AGENT = f"/dure:{VERSION}/"
"""What peers are told."""
