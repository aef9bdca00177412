"""Fuzzing of data files: damaged lines among good ones through the real landing and merge.

    python tests/fuzz/fuzz_lines.py --seconds 120 [--seed 7] [--case 12]

Prints the seed, how many runs and lines were tried, and every finding with the lines that show it; ends with 1 when
there is one. A case is known by seed and number and can be run again alone.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def main() -> int:
    """Start the fuzzer as a process of its own, since a crash of the engine would end it."""
    options = _options()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1, 2**31)
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="bcda-fuzz-") as folder:
        current = Path(folder) / "case"
        command = [sys.executable, "-X", "faulthandler", __file__, "--inside", str(current), "--seed", str(seed)]
        command += ["--seconds", str(options.seconds)] + (
            ["--case", str(options.case)] if options.case is not None else []
        )
        # Nothing of the fuzzer's own is left behind, however it ends.
        done = subprocess.run(command, env={**os.environ, "TMPDIR": folder}, check=False)
        if done.returncode not in {0, 1}:
            print(f"FINDING: the process ended with {done.returncode} in case {current.read_text()} of seed {seed}")
    return 1 if done.returncode else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--case", type=int, help="one case only")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    return parser.parse_args()


def fuzz(options: argparse.Namespace) -> int:
    """Run cases until the time is over; return 1 when one of them is a finding."""
    import lines

    current, known, tried, landed = Path(options.inside), set(), 0, 0
    end = time.monotonic() + options.seconds
    number = options.case or 0
    while True:
        current.write_text(str(number))
        case = lines.random_case(random.Random(f"{options.seed} {number}"))
        tried += sum(map(len, case.bad.values()))
        try:
            landed += lines.run(case)
        except lines.FindingError as finding:
            key = key_of(finding)
            if key not in known:
                known.add(key)
                _tell(finding, smallest(case, key), number, options.seed)
        number += 1
        if options.case is not None or time.monotonic() >= end:
            break
    cases = number - (options.case or 0)
    print(f"seed {options.seed}: {cases} runs, {tried} damaged lines of which {landed} landed, {len(known)} findings")
    return 1 if known else 0


def key_of(finding: Exception) -> tuple[str, ...]:
    """Return what makes two findings the same: the promise, and where in the library it was broken."""
    cause = finding.__cause__ or finding
    frames = [frame for frame in traceback.extract_tb(cause.__traceback__) if "/bcda/" in frame.filename]
    return (str(finding).partition(":")[0], *(f"{Path(f.filename).name}:{f.name}" for f in frames[-2:]))


def smallest(case: "lines.Case", key: tuple[str, ...]) -> "lines.Case":  # noqa: F821 - imported once it is needed
    """Return the case with one damaged line when that is enough for the same finding."""
    import lines

    end = time.monotonic() + 30
    for kind, bad in case.bad.items():
        for line in bad:
            if time.monotonic() > end:
                return case
            one = lines.Case(case.version, {kind: [line]}, case.order)
            try:
                lines.run(one)
            except lines.FindingError as finding:
                if key_of(finding) == key:
                    return one
    return case


def _tell(finding: Exception, case: "lines.Case", number: int, seed: int) -> None:  # noqa: F821
    print(f"FINDING in case {number} of seed {seed}: {finding}")
    for kind, bad in case.bad.items():
        for line in bad if sum(map(len, case.bad.values())) == 1 else []:
            print(f'("{case.version.value}", "{kind}", {line[:3000]!r}),  # {len(line)} bytes')
    cause = finding.__cause__
    if cause is not None:
        print("".join(traceback.format_exception(cause, limit=-3))[-2500:], flush=True)


if __name__ == "__main__":
    if _options().inside:
        sys.path[:0] = [str(FOLDER), str(FOLDER.parent / "unit")]
        sys.exit(fuzz(_options()))
    sys.exit(main())
