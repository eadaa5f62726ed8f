//! What becomes of grammars, and what is said of those that are wrong.

use super::*;

/// The error of a grammar.
fn error(source: &str) -> String {
    match to_lark(source).unwrap_err() {
        Error::Grammar { detail } => detail,
        other => other.to_string(),
    }
}

#[test]
fn rules_that_lead_nowhere_back_are_terminals() {
    let lark = to_lark(
        "# who it is\nroot ::= greeting (\", \" name)+ [!?]{1,3}  # and how\ngreeting ::= \"hi\" |\n  \"hello\"\n\
         name ::= [A-Z] [^ \\n\\]-]{2,} \"\\\"\"? .\nunused ::= \"\\x41\\u00e9\"\n",
    )
    .unwrap();
    let wanted = [
        "start: T0",
        "T0: (T1 ((/\\x{2c}\\x{20}/ T2))+ (/[\\x{21}\\x{3f}]/){1,3})",
        "T2: (/[A-Z]/ (/[^\\x{20}\\x{a}\\x{5d}\\x{2d}]/){2,} (/\\x{22}/)? /(?s:.)/)",
        "T1: (/hi/ | /hello/)",
    ];
    assert_eq!(lark.lines().collect::<Vec<_>>(), wanted);
}

#[test]
fn rules_that_lead_back_are_rules_of_terminals() {
    let lark = to_lark(
        "root ::= list ws\nlist ::= \"(\" ws ( item (\",\" ws item)* )? \")\"\nitem ::= list | [0-9]+ | \"x\"\n\
         ws ::= ([ \\t] ws)?\nlater ::= root {0} later?\n",
    )
    .unwrap();
    let rules: Vec<&str> = lark.lines().map(|line| line.split(':').next().unwrap()).collect();
    // Lists lead back to lists, and so do their items; space behind space is a loop.
    for (name, count) in [("start", 1), ("r0", 1), ("r1", 1), ("T2", 1), ("r3", 1), ("T0", 0), ("r2", 0)] {
        assert_eq!(rules.iter().filter(|rule| **rule == name).count(), count, "{name}: {lark}");
    }
    assert!(lark.starts_with("start: r0\n") && lark.contains("\nP0: (T2)\nr0: r1 P0\n"), "{lark}");
    assert!(!lark.contains("later"));
}

#[test]
fn errors_say_where() {
    for (source, wanted) in [
        ("", "there is no rule \"root\""),
        ("start ::= \"a\"", "there is no rule \"root\""),
        ("root ::= other\n", "line 1, column 10: there is no rule \"other\""),
        ("root ::= \"a\"\nroot ::= \"b\"", "line 2, column 10: there is a rule \"root\" already"),
        ("root = \"a\"", "line 1, column 6: ::= is wanted, and there is '='"),
        (
            "# x\n  root ::= \"a",
            "line 2, column 14: the end of the text, a quote, is wanted, and the file ends",
        ),
        ("root ::= [a-", "line 1, column 13: the end of the range is wanted"),
        ("root ::= [z-a]", "line 1, column 14: no character lies from 'z' to 'a'"),
        ("root ::= []", "line 1, column 11: a class has no character"),
        ("root ::= \"\\q\"", "line 1, column 11: \\q stands for no character"),
        ("root ::= \"\\x4\"", "line 1, column 11: \\x wants 2 digits"),
        ("root ::= \"\\ud800\"", "line 1, column 11: \\u wants 4 digits"),
        ("root ::= (\"a\"\n", "line 2, column 1: \")\" is wanted, and the file ends"),
        ("root ::= \"a\"{3,2}", "line 1, column 17: at least 3 and at most 2 cannot be"),
        ("root ::= \"a\"{x}", "line 1, column 14: a number is wanted, and there is 'x'"),
        ("root ::= \"a\"{1000000}", "line 1, column 14: nothing is repeated more than"),
        ("root ::= \"a\" )", "line 1, column 14: the end of the line is wanted, and there is ')'"),
        ("root ::= <think>", "line 1, column 10: tokens by id"),
        ("root ::= \"a\"\n| \"b\"", "line 2, column 1: the name of a rule is wanted, and there is '|'"),
        ("root ::=\n\n  é", "line 3, column 3: the end of the line is wanted, and there is 'é'"),
    ] {
        let found = error(source);
        assert!(found.starts_with(wanted), "{source:?}: {found}");
    }
    let deep = format!("root ::= {}\"a\"{}", "(".repeat(30), ")".repeat(30));
    assert!(error(&deep).contains("deeper than"));
}

#[test]
fn grammars_are_known_by_their_first_rule() {
    for source in ["root ::= x", "# a comment\n\n  root::=", "my-Rule2 ::= \"start: a\""] {
        assert!(is_meant(source), "{source}");
    }
    for source in ["", "start: \"a ::= b\"", "// root ::=\nstart: \"a\"", "%ignore / /\nstart: x"] {
        assert!(!is_meant(source), "{source}");
    }
}
