//! `cofferdam completion`: what has a shell complete commands and options.
//!
//! Leaves: a script of the shell. Guarantees: it is made from the commands that the program goes by. Does not: install it.

use anyhow::Result;
use clap::{Args, Command, ValueEnum};
use clap_complete::Shell;
use std::io::Write;

/// Print a completion script for your shell.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  cofferdam completion bash > /etc/bash_completion.d/cofferdam
  cofferdam completion zsh > ~/.zfunc/_cofferdam
  cofferdam completion fish > ~/.config/fish/completions/cofferdam.fish")]
pub(crate) struct CompletionArgs {
    /// For which shell
    shell: ShellArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ShellArg {
    Bash,
    Zsh,
    Fish,
}

/// Runs the command, with the program's command line.
pub(crate) fn run(args: &CompletionArgs, mut program: Command, out: &mut impl Write) -> Result<()> {
    let shell = match args.shell {
        ShellArg::Bash => Shell::Bash,
        ShellArg::Zsh => Shell::Zsh,
        ShellArg::Fish => Shell::Fish,
    };
    // Made whole first: whoever closes the pipe early is no bug of the generator.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, "cofferdam", &mut script);
    Ok(out.write_all(&script)?)
}
