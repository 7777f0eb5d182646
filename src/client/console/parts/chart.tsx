import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { onColours } from "../theme.js";

export interface Line {
  readonly label: string;
  /** Which of the colours of lines, from 1. */
  readonly colour: 1 | 2 | 3 | 4;
}

/** Lines over the last minutes. In: seconds since 1970 and, of each line, a value for each of them. */
export function Chart(props: {
  title: string;
  lines: readonly Line[];
  times: readonly number[];
  values: readonly (readonly (number | null)[])[];
  format(value: number): string;
}) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    const make = () => {
      plot.current?.destroy();
      const { lines } = latest.current;
      const format = (value: number) => latest.current.format(value);
      const style = getComputedStyle(document.documentElement);
      const colour = (name: string) => style.getPropertyValue(name).trim();
      const axis = {
        stroke: colour("--faint"),
        font: "11px ui-sans-serif, system-ui, sans-serif",
        grid: { stroke: colour("--line"), width: 1 },
        ticks: { show: false },
      };
      plot.current = new uPlot(
        {
          width: Math.max(160, element.clientWidth),
          height: 132,
          padding: [8, 8, 0, 0],
          cursor: { show: false },
          legend: { show: false },
          scales: { x: { time: true }, y: { range: (_self, _min, max) => [0, max > 0 ? max * 1.15 : 1] } },
          axes: [
            { ...axis, space: 72, size: 24, grid: { show: false }, values: (_self, splits) => splits.map(clock) },
            { ...axis, size: 52, space: 32, values: (_self, splits) => splits.map(format) },
          ],
          series: [
            {},
            ...lines.map(({ label, colour: nth }) => ({
              label,
              stroke: colour(`--line-${nth}`),
              width: 1.5,
              points: { show: false },
              spanGaps: true,
            })),
          ],
        },
        dataOf(latest.current),
        element,
      );
    };
    make();
    const resized = new ResizeObserver(() =>
      plot.current?.setSize({ width: Math.max(160, element.clientWidth), height: 132 }),
    );
    resized.observe(element);
    const end = onColours(make);
    return () => {
      end();
      resized.disconnect();
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, []);

  useEffect(() => plot.current?.setData(dataOf(props)), [props.times, props.values]);

  const last = props.values.map((each) => each.findLast((value) => value !== null));
  const said = props.lines.map(({ label }, nth) => `${label} ${last[nth] == null ? "–" : props.format(last[nth])}`);
  return (
    <figure class="chart">
      <figcaption>
        <span class="chart-title">{props.title}</span>
        {props.lines.map(({ label, colour }, nth) => (
          <span key={label} class="key">
            <span class={`swatch line-${colour}`} />
            {label} <b>{last[nth] == null ? "–" : props.format(last[nth])}</b>
          </span>
        ))}
      </figcaption>
      <div ref={box} class="plot" role="img" aria-label={`${props.title}: ${said.join(", ")}`} />
    </figure>
  );
}

const dataOf = ({ times, values }: { times: readonly number[]; values: readonly (readonly (number | null)[])[] }) =>
  [times, ...values] as unknown as uPlot.AlignedData;

const clock = (seconds: number): string =>
  new Date(seconds * 1_000).toLocaleTimeString(undefined, {
    hour: "2-digit",
    minute: "2-digit",
    second: "2-digit",
    hour12: false,
  });
