"""What is wrong, and what to do about it."""

from __future__ import annotations

import click

from cli.context import Context, common, plural

MARKS = {"fine": ("✓", "green"), "notice": ("•", "yellow"), "problem": ("✗", "red")}


@click.command()
@common
def doctor(context: Context) -> None:
    """Look at all that can be wrong with this machine and the network, and say what to do."""
    import time

    from devnet.doctor import Check, Verdict, examine
    from devnet.errors import Refused

    checks: list[Check] = []
    for check in examine(context.folder, time.time()):
        checks.append(check)
        mark, colour = MARKS[check.verdict]
        context.note(f"{click.style(mark, fg=colour)} {check.name}: {check.found}")
        if check.advice:
            context.note(f"    {check.advice}")
    problems = sum(check.verdict is Verdict.PROBLEM for check in checks)
    context.emit({"problems": problems, "checks": checks}, "" if problems else "\nAll is well.")
    if problems:
        raise Refused(f"{plural(problems, 'problem')} found.")


COMMANDS = (doctor,)
