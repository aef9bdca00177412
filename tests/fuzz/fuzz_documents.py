"""Coverage-guided fuzzing of everything BCDA says outside its data files, with Atheris.

    python tests/fuzz/fuzz_documents.py --seconds 120 [--seed 7] [--target manifest] [--keep FOLDER]

Prints the seed, the number of executions and every finding as a line for `test_found.py`; ends with 1 when there is one.
"""

import argparse
import gzip
import os
import random
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

MAX_BYTES = 8192


def main() -> int:
    """Start the fuzzer as a process of its own, since it never returns, and tell what it found."""
    options = _options()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1, 2**31)
    with tempfile.TemporaryDirectory(prefix="bcda-fuzz-") as folder:
        found = Path(options.keep or folder) / "found"
        found.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            __file__,
            "--inside",
            str(found),
            "--seed",
            str(seed),
            "--seconds",
            str(options.seconds),
        ]
        command += ["--target", options.target] if options.target else []
        # Nothing of the fuzzer's own is left behind, however it ends.
        inside = {**os.environ, "TMPDIR": folder}
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", env=inside, check=False)
        findings = [path.read_text(encoding="utf-8") for path in sorted(found.glob("*.txt"))]
        # A crash of the interpreter, a hang or exhausted memory leaves the input behind.
        findings += [f"{path.name}: {path.read_bytes()[:2000]!r}" for path in sorted(found.glob("[a-z]*-[0-9a-f]*"))]
        if done.returncode and not findings:
            findings = [f"the fuzzer ended with {done.returncode}\n{done.stderr[-3000:]}"]
    runs = re.findall(r"stat::number_of_executed_units:\s+(\d+)", done.stderr) or ["?"]
    edges = re.findall(r"cov: (\d+)", done.stderr) or ["?"]
    print(f"seed {seed}: {runs[-1]} executions in {options.seconds} s, {edges[-1]} edges, {len(findings)} findings")
    for text in findings:
        print(text)
    return 1 if findings else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--target", help="one target only; all of them take turns otherwise")
    parser.add_argument("--keep", help="folder for what was found; else it is only printed")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    return parser.parse_args()


class _Fuzzer:
    """The process that fuzzes: first byte of an input is the target, the rest what came."""

    def __init__(self, found: Path, target: str | None) -> None:
        import documents

        self._documents = documents
        self._found = found
        self._names = (target,) if target else documents.NAMES
        self._known: set[tuple[str, ...]] = set()

    def seeds(self) -> list[bytes]:
        """Return valid inputs of all targets."""
        targets = self._documents.TARGETS
        return [bytes([place]) + text for place, name in enumerate(self._names) for text in targets[name].seeds]

    def execute(self, data: bytes) -> None:
        """Run one input; a finding is written down once and fuzzing goes on."""
        if not data:
            return
        name = self._names[data[0] % len(self._names)]
        try:
            self._documents.run(name, data[1:])
        except self._documents.FindingError as finding:
            self._write_down(name, data[1:], finding)

    def _write_down(self, name: str, payload: bytes, finding: Exception) -> None:
        cause = finding.__cause__ or finding
        frames = traceback.extract_tb(cause.__traceback__)
        ours = [f"{Path(frame.filename).name}:{frame.name}" for frame in frames if "bcda" in frame.filename]
        key = (name, str(finding), *ours[-1:])
        if key in self._known:
            return
        self._known.add(key)
        where = "".join(traceback.format_exception(cause, limit=-4))
        text = f'("{name}", {payload!r}),  # {finding}\n{where}'
        (self._found / f"{len(self._known):03d}-{name}.txt").write_text(
            text, encoding="utf-8", errors="backslashreplace"
        )

    def mutate(self, data: bytes, max_size: int, seed: int) -> bytes:
        """Damage an input: by the structure of its JSON or gzip when it has one, else byte by byte."""
        import atheris

        draw = random.Random(seed)
        if len(data) > 1 and draw.random() < 0.5:
            changed = data[:1] + self._by_structure(self._names[data[0] % len(self._names)], data[1:], draw)
            if len(changed) <= max_size:
                return changed
        return bytes(atheris.Mutate(data, max_size))

    def _by_structure(self, name: str, payload: bytes, draw: random.Random) -> bytes:
        # Not above: what is imported before the fuzzer starts is not measured.
        import json

        from mutations import CANARY, DATES, NUMBERS, TEXTS, mutated, to_text

        if name == "gzip":
            return _damaged_gzip(payload, draw)
        start = max(payload.find(b"{"), 0)
        try:
            value = json.loads(payload[start:])
        except (ValueError, RecursionError):
            odd = draw.choice((*DATES, *NUMBERS, *TEXTS, CANARY)).encode("utf-8", "replace")
            at = draw.randint(0, len(payload))
            return payload[:at] + odd + payload[draw.choice((at, len(payload), min(len(payload), at + len(odd)))) :]
        try:
            return payload[:start] + to_text(mutated(value, draw), draw)
        except RecursionError:
            return payload


def _damaged_gzip(payload: bytes, draw: random.Random) -> bytes:
    """Pack other content in several members, or flip, cut and add bytes of what is there."""
    if draw.random() < 0.5:
        members = []
        for _ in range(draw.randint(1, 4)):
            content = draw.choice(
                (b"", b"\n", b"a\n", b"a", b"x" * draw.randint(1, 9000), draw.randbytes(50), b"\n" * 9)
            )
            members.append(gzip.compress(content, draw.randint(0, 9), mtime=0))
        payload = b"".join(members)
    at = draw.randint(0, max(0, len(payload) - 1))
    flipped = bytes([payload[at] ^ (1 << draw.randint(0, 7))]) if payload else b""
    return draw.choice(
        (
            payload,
            payload[:at],
            payload[:at] + flipped + payload[at + 1 :],
            payload + draw.choice((b"\x00", b"\x00" * 600, b"\x1f", b"\x1f\x8b", b"x", draw.randbytes(5))),
            payload[:at] + payload[at + 1 :],
            payload[:at] + draw.randbytes(1) + payload[at:],
        )
    )


def fuzz(options: argparse.Namespace) -> None:
    """Fuzz in this process; does not return."""
    import atheris

    found = Path(options.inside)
    with atheris.instrument_imports(include=["bcda", "email", "urllib", "json"], enable_loader_override=False):
        fuzzer = _Fuzzer(found, options.target)
    corpus = found / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, text in enumerate(fuzzer.seeds()):
        (corpus / f"{number:03d}").write_bytes(text)
    arguments = [
        sys.argv[0],
        f"-max_total_time={options.seconds}",
        f"-seed={options.seed}",
        f"-max_len={MAX_BYTES}",
        f"-artifact_prefix={found}/",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        "-verbosity=1",
        str(corpus),
    ]
    atheris.Setup(arguments, fuzzer.execute, custom_mutator=fuzzer.mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    if _options().inside:
        sys.path.insert(0, str(Path(__file__).parent))
        fuzz(_options())
    else:
        sys.exit(main())
