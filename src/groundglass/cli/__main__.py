import sys

from groundglass.cli.main import main

sys.exit(main())
