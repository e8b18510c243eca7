"""The documents are not part of this project: where no folder of them is named, their tests are not collected."""

import os

collect_ignore_glob = [] if "DRAGOMAN_DOCUMENTS" in os.environ else ["test_*.py"]
