"""What a reader can work out from numbers that are published together: a linear solver with intervals, exact in fractions."""

from collections.abc import Hashable, Mapping
from fractions import Fraction

Name = Hashable
Row = dict[Name, Fraction]

_ROUNDS = 8


class Solver:
    """Everything that is published, as equations between numbers that are known and numbers that are not."""

    def __init__(self) -> None:
        self._equations: list[tuple[Row, Fraction]] = []
        self._low: dict[Name, Fraction] = {}
        self._high: dict[Name, Fraction] = {}
        self._reduced: dict[Name, Row] | None = None
        self._is_narrowed = False

    def add(self, coefficients: Mapping[Name, int], constant: object = 0) -> None:
        """Say that a sum of numbers is a constant."""
        row = {name: Fraction(value) for name, value in coefficients.items() if value}
        if row:
            self._equations.append((row, Fraction(str(constant))))
            self._reduced, self._is_narrowed = None, False

    def at_least(self, name: Name, value: int) -> None:
        """Say that a number is not smaller than this."""
        self._low[name] = max(self._low.get(name, Fraction(value)), Fraction(value))
        self._is_narrowed = False

    def is_solved(self, name: Name) -> bool:
        """Tell whether the equations leave a single value for a number, or the intervals do."""
        return self._is_determined({name: Fraction(1)}) or self._is_narrow(name)

    def _is_determined(self, wanted: Row) -> bool:
        if self._reduced is None:
            self._reduced = self._solve()
        wanted = dict(wanted)
        for pivot, other in self._reduced.items():
            _subtract(wanted, other, pivot)
        return not wanted

    def _solve(self) -> dict[Name, Row]:
        reduced: dict[Name, Row] = {}
        for equation, _ in self._equations:
            row = dict(equation)
            for pivot, other in reduced.items():
                _subtract(row, other, pivot)
            if row:
                pivot = next(iter(row))
                reduced[pivot] = {name: value / row[pivot] for name, value in row.items()}
        return reduced

    def _is_narrow(self, name: Name) -> bool:
        if not self._is_narrowed:
            self._narrow()
            self._is_narrowed = True
        low, high = self._low.get(name), self._high.get(name)
        return low is not None and low == high

    def _narrow(self) -> None:
        for _ in range(_ROUNDS):
            # A list, because each equation has to have its turn.
            is_changed = [self._narrow_by(row, constant) for row, constant in self._equations]
            if not any(is_changed):
                return

    def _narrow_by(self, row: Row, constant: Fraction) -> bool:
        """Narrow the interval of each number of an equation by those of the others; tell whether one became narrower."""
        is_changed = False
        for name in row:
            for near, far, is_low in ((self._low, self._high, True), (self._high, self._low, False)):
                found = _end(name, row, constant, near, far)
                if found is not None and (name not in near or (found > near[name] if is_low else found < near[name])):
                    near[name], is_changed = found, True
        return is_changed


def _end(
    name: Name, row: Row, constant: Fraction, near: Mapping[Name, Fraction], far: Mapping[Name, Fraction]
) -> Fraction | None:
    """Return how far down, or up, a number of an equation can be; None when nothing bounds another."""
    rest = constant
    for other, value in row.items():
        if other == name:
            continue
        bound = (far if value / row[name] > 0 else near).get(other)
        if bound is None:
            return None
        rest -= value * bound
    return rest / row[name]


def _subtract(row: Row, other: Row, pivot: Name) -> None:
    factor = row.get(pivot)
    if factor is None:
        return
    for name, value in other.items():
        rest = row.get(name, Fraction(0)) - factor * value
        if rest:
            row[name] = rest
        else:
            row.pop(name, None)
