//! Checks on the text of one file.
//!
//! Deliberately not here: parsing Rust.
//! Every rule is about lines, so a rule can be read off a line and a finding points at one.

/// The most lines of code, tests not counted, that one file may have.
const MAX_LINES: usize = 600;

/// What a line may not start with or contain, and why.
/// The marks are put together from parts so that this table does not find itself.
const FORBIDDEN: [(&str, &str); 3] = [
    (
        concat!("#[", "ignore"),
        "`#[ignore]`: a test that does not run proves nothing; say at run time why it skips",
    ),
    (
        concat!("#[", "should_panic"),
        "`#[should_panic]` cannot tell which panic came; check the error instead",
    ),
    (
        concat!("todo", "!("),
        "`todo!`: nothing unfinished is committed",
    ),
];

/// Folders of one machine, which mean nothing on another.
const MACHINE_PATHS: [&str; 2] = [concat!("/wo", "rk"), concat!("/ro", "ot")];

/// Lines that end in a space or a tab.
pub(super) fn trailing_space(text: &str) -> Vec<(usize, String)> {
    find(text, |line| {
        line.ends_with([' ', '\t'])
            .then(|| "space at the end of the line".to_owned())
    })
}

/// Lines that name a folder of somebody's machine.
pub(super) fn machine_paths(text: &str) -> Vec<(usize, String)> {
    find(text, |line| {
        let path = MACHINE_PATHS.iter().find(|path| names_folder(line, path))?;
        Some(format!("`{path}` is a folder of one machine"))
    })
}

/// A Rust file whose first line is not a `//!`.
pub(super) fn no_header(text: &str) -> Option<(usize, String)> {
    (!text.starts_with("//!"))
        .then(|| (1, "a file opens with `//!` that says what it is".to_owned()))
}

/// A Rust file with too many lines before its tests.
pub(super) fn too_long(text: &str) -> Option<(usize, String)> {
    let lines: Vec<_> = text.lines().collect();
    let is_test_module = |pair: &[&str]| {
        pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
    };
    let count = lines
        .windows(2)
        .position(is_test_module)
        .unwrap_or(lines.len());
    (count > MAX_LINES).then(|| {
        (
            MAX_LINES,
            format!("{count} lines without tests, at most {MAX_LINES}: split the file"),
        )
    })
}

/// Marks in Rust that hide a problem instead of solving it.
pub(super) fn forbidden(text: &str) -> Vec<(usize, String)> {
    let mut found = find(text, |line| {
        let line = line.trim_start();
        let (_, why) = FORBIDDEN.iter().find(|(mark, _)| {
            // An attribute stands at the start of its line; in the middle of one it is prose.
            if mark.starts_with('#') {
                line.starts_with(mark)
            } else {
                line.contains(mark)
            }
        })?;
        Some((*why).to_owned())
    });
    found.extend(allow_without_reason(text));
    found
}

/// `allow` attributes that do not say why.
fn allow_without_reason(text: &str) -> Vec<(usize, String)> {
    let lines: Vec<_> = text.lines().collect();
    find(text, |line| {
        ["#[allow(", "#![allow("]
            .iter()
            .any(|mark| line.trim_start().starts_with(mark))
            .then(String::new)
    })
    .into_iter()
    .filter(|(number, _)| {
        let rest = &lines[number - 1..];
        let end = rest
            .iter()
            .position(|line| line.contains(")]"))
            .unwrap_or(rest.len() - 1);
        !rest[..=end].iter().any(|line| line.contains("reason"))
    })
    .map(|(number, _)| {
        (
            number,
            "`allow` without a reason: use `#[expect(lint, reason = \"..\")]`".to_owned(),
        )
    })
    .collect()
}

/// The number, from one, and the message of each line that `check` has something to say about.
fn find(text: &str, mut check: impl FnMut(&str) -> Option<String>) -> Vec<(usize, String)> {
    text.lines()
        .enumerate()
        .filter_map(|(i, line)| Some((i + 1, check(line)?)))
        .collect()
}

/// Whether `line` names the folder `path` or something in it, and not a longer name or an inner part of another path.
fn names_folder(line: &str, path: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || "._-".contains(c);
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + path.len()..].chars().next();
        !before.is_some_and(|c| part_of_name(c) || c == '/') && !after.is_some_and(part_of_name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `lines` are the numbers of the lines that `found` points at.
    fn check(found: impl IntoIterator<Item = (usize, String)>, lines: &[usize]) {
        let found: Vec<_> = found.into_iter().collect();
        let numbers: Vec<_> = found.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, lines, "{found:?}");
    }

    #[test]
    fn finds_space_at_the_end() {
        check(trailing_space("a\nb \nc\t\nd\r\n\n  e"), &[2, 3]);
    }

    #[test]
    fn finds_folders_of_one_machine() {
        let work = MACHINE_PATHS[0];
        let root = MACHINE_PATHS[1];
        for (line, found) in [
            (format!("see {work}/data"), true),
            (format!("in `{work}`"), true),
            (format!("\"{root}/.cache\""), true),
            (root.to_owned(), true),
            (format!("https://example.org{work}/1"), false),
            (format!("{work}space/data"), false),
            ("the work/root of the matter".to_owned(), false),
        ] {
            check(machine_paths(&line), if found { &[1] } else { &[] });
        }
    }

    #[test]
    fn wants_a_header() {
        check(no_header("//! What it is.\n"), &[]);
        check(no_header("// What it is.\n"), &[1]);
        check(no_header("\n//! What it is.\n"), &[1]);
        check(no_header(""), &[1]);
    }

    #[test]
    fn counts_lines_up_to_the_tests() {
        let code = |n| "x\n".repeat(n);
        let tests = "#[cfg(test)]\nmod tests {\n";
        check(too_long(&code(600)), &[]);
        check(too_long(&code(601)), &[600]);
        check(too_long(&format!("{}{tests}{}", code(600), code(300))), &[]);
        check(too_long(&format!("{}{tests}", code(601))), &[600]);
        check(
            too_long(&format!("#[cfg(test)]\nmod tests;\n{}", code(600))),
            &[600],
        );
        check(
            too_long(&format!("#[cfg(test)]\nfn helper() {{}}\n{}", code(600))),
            &[600],
        );
    }

    #[test]
    fn finds_marks_that_hide_a_problem() {
        for mark in [
            "#[ignore]",
            "    #[ignore = \"slow\"]",
            "#[should_panic]",
            "#[should_panic(expected = \"x\")]",
        ] {
            check(forbidden(mark), &[1]);
            check(forbidden(&format!("let text = \"{mark}\";")), &[]);
        }
        check(
            forbidden(&format!("fn f() {{ {}) }}", FORBIDDEN[2].0)),
            &[1],
        );
        check(forbidden("#[test]\nfn ignores_case() {}\n"), &[]);
    }

    #[test]
    fn wants_a_reason_for_allow() {
        check(forbidden("#[allow(dead_code)]"), &[1]);
        check(
            forbidden("x\n#![allow(\n    dead_code,\n)]\n// reason: none\n"),
            &[2],
        );
        check(forbidden("#[allow("), &[1]);
        check(
            forbidden("#[allow(dead_code, reason = \"used on Windows only\")]"),
            &[],
        );
        check(
            forbidden("#[allow(\n    dead_code,\n    reason = \"used on Windows only\"\n)]"),
            &[],
        );
        check(
            forbidden("#[expect(dead_code, reason = \"used on Windows only\")]"),
            &[],
        );
    }
}
