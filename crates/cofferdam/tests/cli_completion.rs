//! Shells complete commands by what the program prints for them.

use std::process::Command;

#[test]
fn scripts_know_commands_and_bash_completes_one() {
    let script = |shell: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_cofferdam"))
            .args(["completion", shell])
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    for (shell, says) in
        [("zsh", "#compdef cofferdam"), ("fish", "complete -c cofferdam"), ("bash", "complete -F _cofferdam")]
    {
        let script = script(shell);
        assert!(
            script.contains(says) && script.contains("explain") && script.contains("tools"),
            "{shell}: {script}"
        );
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("script");
    std::fs::write(&path, script("bash")).expect("it is written");
    let ask = "source \"$1\"; COMP_WORDS=(cofferdam fin); COMP_CWORD=1; _cofferdam cofferdam fin cofferdam; echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").args(["-c", ask, "bash"]).arg(&path).output().expect("bash runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), "findings", "{}", String::from_utf8_lossy(&output.stderr));
}
