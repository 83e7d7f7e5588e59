"""The completion times of one run as an SVG: how many peers were done, over time. Pure."""

from tests.simulation.settings import Settings
from tests.simulation.swarm import Outcome

WIDTH, HEIGHT, MARGIN = 640, 360, 48


def chart(settings: Settings, outcome: Outcome) -> str:
    """The picture; time in multiples of what an unhindered line takes."""
    latest = max(1.2, outcome.slowest * 1.05)

    def x(time: float) -> float:
        return round(MARGIN + (WIDTH - 2 * MARGIN) * time / latest, 1)

    def y(share: float) -> float:
        return round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * share, 1)

    count = len(outcome.times)
    points = [f"{x(0)},{y(0)}", *(f"{x(time)},{y((at + 1) / count)}" for at, time in enumerate(outcome.times))]
    title = f"{settings.peers} peers, {settings.reading.value}: mean {outcome.mean:.3f}, p99 {outcome.p99:.3f} of the line's time"
    return "\n".join((
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f"<title>{title}</title>",
        f'<text x="{MARGIN}" y="24">{title}</text>',
        f'<path d="M{x(0)} {y(1)} V{y(0)} H{x(latest)}" fill="none" stroke="black"/>',
        f'<path d="M{x(1)} {y(1)} V{y(0)}" fill="none" stroke="gray" stroke-dasharray="4"/>',
        f'<text x="{x(1)}" y="{HEIGHT - MARGIN + 16}" text-anchor="middle">{settings.line_time_s:.2f} s</text>',
        f'<polyline points="{" ".join(points)}" fill="none" stroke="#0b6" stroke-width="2"/>',
        "</svg>\n",
    ))  # fmt: skip
