import pretty from "pino-pretty";

/** Of a request: what the one line of it says. */
const ofRequest = ["method", "path", "status", "ms", "userId"];

/** A stream that makes lines for people of a log's JSON. In: whether with colours. */
export function pinoPretty(colorize: boolean): pretty.PrettyStream {
  return pretty({
    colorize,
    destination: 2,
    sync: true,
    translateTime: "SYS:HH:MM:ss",
    singleLine: true,
    ignore: ["requestId", ...ofRequest].join(","),
    messageFormat(line, message) {
      const { [message]: text, method, path, status, ms, userId } = line;
      if (text !== "request") return String(text);
      return [method, path, status, `${ms} ms`, userId].filter((each) => each !== undefined).join(" ");
    },
  });
}
