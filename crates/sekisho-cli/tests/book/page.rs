//! The fenced blocks of a page, and what the comment above each says of it.

/// A fenced block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Where its fence opens.
    pub(crate) line: usize,
    pub(crate) language: String,
    /// What the comment above it says.
    pub(crate) mark: Option<String>,
    pub(crate) text: String,
}

/// What becomes of a block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate<'a> {
    /// It is to look at, or says why it is exempt.
    Left,
    /// It becomes a file of this name.
    Written(&'a str),
    /// Commands that end.
    Run,
    /// A server.
    RunOn,
    /// A settings file.
    Checked,
}

impl Block {
    /// What is to be done with it.
    ///
    /// # Errors
    /// When nobody can tell.
    pub(crate) fn fate(&self) -> Result<Fate<'_>, String> {
        let mark = self.mark.as_deref().unwrap_or_default();
        if let Some(name) = mark.strip_prefix("file: ") {
            return Ok(Fate::Written(name));
        }
        let exempt = match self.language.as_str() {
            "sh" | "console" => "not run: ",
            "toml" => "not checked: ",
            other if TO_LOOK_AT.contains(&other) => return Ok(Fate::Left),
            other => return Err(format!("what is a block of {other:?}? Write `sh` or `text`")),
        };
        if mark.strip_prefix(exempt).is_some_and(|why| why.len() >= REASON_LETTERS_MIN) {
            return Ok(Fate::Left);
        }
        match (self.language.as_str(), mark) {
            ("console", _) => Err("a dialogue: say above it `<!-- not run: WHY -->`".to_owned()),
            ("toml", "") if self.text.lines().any(|line| line.starts_with('[')) => {
                Ok(Fate::Checked)
            }
            ("toml", "") => Ok(Fate::Left),
            ("sh", "") => Ok(Fate::Run),
            ("sh", "runs on") => Ok(Fate::RunOn),
            (_, other) => Err(format!("what does the comment {other:?} mean?")),
        }
    }
}

/// All blocks, in their order. Those in lists lose what they are indented by.
pub(crate) fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut above = "";
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let (indent, language) = match line.split_once("```") {
            Some((before, language)) if is_indent(before) && !language.contains('`') => {
                (before.chars().count(), language)
            }
            Some(_) | None => {
                above = if line.trim().is_empty() { above } else { line };
                continue;
            }
        };
        let mut text = String::new();
        for (_, line) in lines.by_ref().take_while(|(_, line)| line.trim() != "```") {
            text.extend([line.get(indent..).unwrap_or(line.trim_start()), "\n"]);
        }
        let mark = above.trim().strip_prefix("<!-- ").and_then(|mark| mark.strip_suffix(" -->"));
        blocks.push(Block {
            line: at + 1,
            language: language.to_owned(),
            mark: mark.map(str::to_owned),
            text,
        });
        above = "";
    }
    blocks
}

/// Spaces, and what begins an item of a list.
fn is_indent(before: &str) -> bool {
    before.chars().all(|letter| letter == ' ' || letter == '.' || letter.is_ascii_digit())
}

/// Languages of what is no command and no settings file.
const TO_LOOK_AT: &[&str] = &["text", "python", "json", "yaml", "nginx", "caddyfile", "ini"];
/// Shorter reasons are none.
const REASON_LETTERS_MIN: usize = 10;

#[test]
fn a_block_is_told_what_becomes_of_it() {
    let rows: &[(&str, &str, Result<Fate<'_>, ()>, &str)] = &[
        ("", "sh", Ok(Fate::Run), "a command runs"),
        ("<!-- runs on -->", "sh", Ok(Fate::RunOn), "a server"),
        ("<!-- not run: needs a browser -->", "sh", Ok(Fate::Left), "a reason"),
        ("<!-- not run: -->", "sh", Err(()), "no reason"),
        ("<!-- not run: because -->", "sh", Err(()), "hardly a reason"),
        ("<!-- not checked: needs a browser -->", "sh", Err(()), "the wrong word"),
        ("<!-- not rum: needs a browser -->", "sh", Err(()), "a slip"),
        ("", "console", Err(()), "a dialogue cannot run"),
        ("<!-- not run: shows an answer -->", "console", Ok(Fate::Left), "a reason"),
        ("", "toml", Ok(Fate::Checked), "settings"),
        ("<!-- file: a.toml -->", "toml", Ok(Fate::Written("a.toml")), "a file"),
        ("<!-- file: a.txt -->", "text", Ok(Fate::Written("a.txt")), "a file of any kind"),
        ("", "text", Ok(Fate::Left), "to look at"),
        ("", "", Err(()), "no language"),
        ("", "bash", Err(()), "another word for sh"),
    ];
    for (above, language, expected, reason) in rows {
        let page = format!("Text.\n{above}\n\n```{language}\n[table]\n```\n");
        let block = &blocks(&page)[0];
        let fate = block.fate().map_err(|_| ());
        assert_eq!(fate.as_ref(), expected.as_ref(), "{reason}");
    }
}

#[test]
fn a_block_in_a_list_loses_its_indent_and_a_mark_is_for_one_block() {
    let page = "1. <!-- runs on -->\n   ```sh\n   a\n     b\n   ```\n3. ```sh\n   c\n   ```\n";
    let found: Vec<_> = blocks(page).into_iter().map(|block| block.text).collect();
    assert_eq!(found, ["a\n  b\n", "c\n"]);
    assert_eq!(blocks("<!-- a -->\n```sh\n```\n```sh\n```\n")[1].mark, None);
    assert_eq!(blocks("Say ```sh``` here.\n"), []);
}
