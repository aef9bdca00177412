"""What people do on every page: log in, look."""

from pathlib import Path

SCREENSHOTS = Path(__file__).resolve().parents[2] / "var" / "screenshots"


def log_in(page, user, password, wanted="/bcda/"):
    """Ask for a page, and give name and password to Airflow's form, which leads back to the page."""
    page.goto(wanted)
    page.fill("input[name=username]", user)
    page.fill("input[name=password]", password)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{wanted}")


def keep(page, name, *, full=True):
    """Keep a picture of the page; `make screenshots` takes them to the documentation."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=full)
