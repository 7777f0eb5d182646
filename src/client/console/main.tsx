import "./language.js";
import { render } from "preact";
import { App } from "./app.js";
import "uplot/dist/uPlot.min.css";
import "./styles.css";
import { applyTheme } from "./theme.js";

applyTheme();
render(<App />, document.body);
