"""``python -m scmichigan``."""

from scmichigan.cli import app

if __name__ == "__main__":
    app(prog_name="scmichigan")
