import { type Command, parseCommandLine, UsageError } from "./command.js";

/** The commands as `perch --help` lists them, each with the module that has the rest. */
export type CommandTable = Readonly<Record<string, { summary: string; load: () => Promise<{ command: Command }> }>>;

const help = `Usage: perch completion bash|zsh|fish

Prints a script that lets a shell complete perch's commands and options:

  bash   source <(perch completion bash)            in ~/.bashrc
  zsh    source <(perch completion zsh)             in ~/.zshrc, behind compinit
  fish   perch completion fish | source             in ~/.config/fish/config.fish
`;

interface Words {
  readonly name: string;
  readonly summary: string;
  /** What may stand behind the command: \`up|down\` of its usage. */
  readonly arguments: readonly string[];
  readonly options: readonly { readonly name: string; readonly text: string }[];
}

/** What a command's help says can be written: the help is the one place that has it. */
function wordsOf(name: string, summary: string, text: string): Words {
  const usage = text.slice(0, text.indexOf("\n\n"));
  const [, choice = ""] = /^Usage: perch \w+ \[?([a-z]+(?:\|[a-z]+)+)/.exec(usage) ?? [];
  const options = [...text.matchAll(/^ {2}--([a-z-]+)(?: [A-Z]\S*)? {2,}(.*)$/gm)];
  return {
    name,
    summary,
    arguments: choice.split("|").filter((word) => word !== ""),
    options: [
      ...options.map(([, option = "", said = ""]) => ({ name: option, text: said })),
      { name: "help", text: "more about it" },
    ],
  };
}

const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
const all = ({ arguments: words, options }: Words) => [...words, ...options.map(({ name }) => `--${name}`)].join(" ");

const scripts: Readonly<Record<string, (commands: readonly Words[]) => string>> = {
  bash: (commands) => `_perch() {
  local word=\${COMP_WORDS[COMP_CWORD]} words
  if [ "$COMP_CWORD" -eq 1 ]; then
    words=${quoted([...commands.map(({ name }) => name), "--help", "--version"].join(" "))}
  else
    case \${COMP_WORDS[1]} in
${commands.map((each) => `      ${each.name}) words=${quoted(all(each))} ;;`).join("\n")}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o default -F _perch perch
`,
  zsh: (commands) => `_perch() {
  if (( CURRENT == 2 )); then
    local -a commands
    commands=(
${commands.map(({ name, summary }) => `      ${quoted(`${name}:${summary.replaceAll(":", "\\:")}`)}`).join("\n")}
    )
    _describe command commands
    return
  fi
  case $words[2] in
${commands.map((each) => `    ${each.name}) compadd -- ${all(each)} ;;`).join("\n")}
  esac
  _files
}
compdef _perch perch
`,
  fish: (commands) =>
    commands
      .flatMap(({ name, summary, arguments: words, options }) => {
        const here = `complete -c perch -n ${quoted(`__fish_seen_subcommand_from ${name}`)}`;
        return [
          `complete -c perch -f -n __fish_use_subcommand -a ${name} -d ${quoted(summary)}`,
          ...words.map((word) => `${here} -a ${word}`),
          ...options.map((option) => `${here} -l ${option.name} -d ${quoted(option.text)}`),
        ];
      })
      .join("\n")
      .concat("\n"),
};

/** The command that prints it. In: the table that it is made of. */
export function completionOf(commands: CommandTable): Command {
  return {
    help,
    async run(args) {
      const { positionals } = parseCommandLine(args, {});
      const [shell = "", ...rest] = positionals;
      const script = Object.hasOwn(scripts, shell) ? scripts[shell] : undefined;
      if (script === undefined || rest.length > 0) throw new UsageError("name one shell: bash, zsh or fish");
      const words = await Promise.all(
        Object.entries(commands).map(async ([name, { summary, load }]) =>
          wordsOf(name, summary, (await load()).command.help),
        ),
      );
      process.stdout.write(script(words));
      return 0;
    },
  };
}
