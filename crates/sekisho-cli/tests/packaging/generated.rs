//! `sekisho generate completions` and `man`: made from the command line, for each shell and command.

use std::process::Command;

use crate::{PROGRAM, sekisho};

/// A command that nobody types.
const HIDDEN: &str = "attend";

#[test]
fn each_shell_has_completions_that_know_the_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let made = sekisho(&["generate", "completions", shell]);
        let script = String::from_utf8(made.stdout).unwrap();
        for known in ["serve", "public-url", "rotate", "bootstrap", "redirect-uri"] {
            assert!(script.contains(known), "{shell} does not complete {known}");
        }
    }
}

#[test]
fn bash_completes_with_them() {
    let asked = "eval \"$(\"$0\" generate completions bash)\"
        COMP_WORDS=(sekisho user pa) COMP_CWORD=2
        _sekisho sekisho pa user
        echo \"${COMPREPLY[*]}\"";
    let done = Command::new("bash").args(["-c", asked, PROGRAM]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout), "passwd\n", "{done:?}");
}

#[test]
fn each_command_has_a_man_page_and_no_hidden_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("not/there/yet");
    assert!(sekisho(&["generate", "man", pages.to_str().unwrap()]).status.success());
    for page in ["sekisho", "sekisho-serve", "sekisho-client-add", "sekisho-keycloak-bootstrap"] {
        let text = std::fs::read_to_string(pages.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
    for page in std::fs::read_dir(&pages).unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        assert!(!name.contains(HIDDEN), "{name}");
    }
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let failed = sekisho(&["generate", "man", "/dev/null/man"]);
    let said = String::from_utf8(failed.stderr).unwrap();
    assert_eq!(failed.status.code(), Some(1));
    assert!(said.starts_with("sekisho: cannot write man pages into /dev/null/man: "), "{said}");
}
