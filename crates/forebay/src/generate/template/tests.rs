//! Templates of the fixtures, exact, and templates that go wrong.

use std::time::Duration;

use super::*;

fn render(source: &str, messages: &[Message]) -> Result<String> {
    Template::new("t", source)?.render(&Prompt::new(messages))
}

#[test]
fn templates_of_models() {
    let Some(folder) = std::env::var_os("FOREBAY_FIXTURES") else {
        eprintln!("left out: FOREBAY_FIXTURES is not set");
        return;
    };
    let json = std::fs::read(Path::new(&folder).join("chat/templates.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["strftime_now"], "2025-03-04T05:06:07");
    let (mut cases, mut wrong) = (0, Vec::new());
    for model in json["templates"].as_array().unwrap() {
        let name = model["name"].as_str().unwrap();
        let template = match Template::new(name, model["template"].as_str().unwrap()) {
            Ok(template) => template,
            Err(error) => {
                wrong.push(error.to_string());
                continue;
            }
        };
        for (number, case) in model["cases"].as_array().unwrap().iter().enumerate() {
            let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
            let mut prompt = Prompt::new(&messages);
            prompt.now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_741_064_767);
            prompt.variables = serde_json::from_value(case["kwargs"].clone()).unwrap();
            prompt.reply = false;
            prompt.bos = model["bos_token"].as_str().unwrap();
            prompt.eos = model["eos_token"].as_str().unwrap();
            cases += 1;
            match (template.render(&prompt), case["out"].as_str()) {
                (Ok(text), Some(wanted)) if text == wanted => {}
                (Err(Error::Template { fault: TemplateFault::Refused { message }, .. }), None)
                    if case["error"].as_str().unwrap().ends_with(&message) => {}
                (other, wanted) => {
                    wrong.push(format!(
                        "{name} case {number}:\n  {other:?}, wanted\n  {wanted:?}, {}",
                        case["error"]
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cases} differ\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases >= 90);
}

/// The fault of a template that fails.
fn fault(source: &str) -> TemplateFault {
    match render(source, &[Message::new("user", "hi")]) {
        Err(Error::Template { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn values_are_written_as_python_writes_them() {
    let source =
        "{{ true }} {{ none }} {{ [1, 'a', false] }} {{ 1.0 }} {{ 'x' ~ true }} {{ {'a': [none]} | string }}";
    assert_eq!(render(source, &[]).unwrap(), "True None [1, 'a', False] 1.0 xTrue {'a': [None]}");
    let source = "{{ {'b': 'ä\"\n', 'a': [1, 2.5, true, none], 'c': {}, 'd': []} | tojson }}";
    assert_eq!(
        render(source, &[]).unwrap(),
        r#"{"b": "ä\"\n", "a": [1, 2.5, true, null], "c": {}, "d": []}"#
    );
    let source = "{{ {'b': 1, 'a': [1, 'ä']} | tojson(indent=2, sort_keys=true, ensure_ascii=true) }}";
    assert_eq!(render(source, &[]).unwrap(), "{\n  \"a\": [\n    1,\n    \"\\u00e4\"\n  ],\n  \"b\": 1\n}");
    assert_eq!(render("{{ [1, 2] | tojson(separators=(',', ':')) }}", &[]).unwrap(), "[1,2]");
}

#[test]
fn templates_may_use_what_python_gives_them() {
    let source = "{% set ns = namespace(n=0) %}{% for m in messages[::-1] %}{% if m.role == 'system' %}\
        {% continue %}{% endif %}{% set ns.n = ns.n + 1 %}{{ m['content'].strip().split(' ')[-1].upper() }}\
        {{ m.get('name', '-') }}{% if ns.n == 2 %}{% break %}{% endif %}{% endfor %}";
    let messages = ["user a b ", "system x", "assistant c", "user d"]
        .map(|m| m.split_once(' ').unwrap())
        .map(|(r, c)| Message::new(r, c));
    assert_eq!(render(source, &messages).unwrap(), "D-C-");
    let marked =
        "{% for m in messages %}\n{%- generation -%}\n {{ m.content }}\n{%- endgeneration %}{% endfor %}.";
    assert_eq!(render(marked, &messages[2..3]).unwrap(), "c.");
    let blocks = "{% if true %}\n  a\n  {% endif %}\n b\n";
    assert_eq!(render(blocks, &[]).unwrap(), "  a\n b");
}

#[test]
fn what_was_given_stays_in_order() {
    let json = r#"[{"role": "user", "content": [{"z": 1, "type": "text", "a": 2}], "name": "n"}]"#;
    let messages: Vec<Message> = serde_json::from_str(json).unwrap();
    let source = "{{ messages[0].content | tojson }}{{ messages[0].name }}";
    assert_eq!(render(source, &messages).unwrap(), r#"[{"z": 1, "type": "text", "a": 2}]n"#);
}

#[test]
fn failures_say_what_happened() {
    let refused = TemplateFault::Refused { message: "no system".to_owned() };
    assert_eq!(
        fault("{% macro m() %}{{ raise_exception('no ' ~ 'system') }}{% endmacro %}{{ m() }}"),
        refused
    );
    assert!(matches!(fault("{% if %}"), TemplateFault::Syntax { .. }));
    assert!(matches!(fault("{{ messages[0].content.nothing() }}"), TemplateFault::Failed { .. }));
    let error = render("\n\n{{ 1 / 'a' }}", &[]).unwrap_err().to_string();
    assert!(error.starts_with("t: chat template, line 3: "), "{error}");
    assert!(!error.contains('\n'), "{error}");
    let long = " ".repeat(MOST_SOURCE + 1);
    assert!(matches!(fault(&long), TemplateFault::TooLong { .. }));
}

#[test]
fn no_template_runs_on_forever() {
    let many = "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}";
    assert_eq!(fault(many), TemplateFault::Endless);
    let itself = "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}";
    assert!(matches!(fault(itself), TemplateFault::Failed { .. }));
    let long = "{% for a in range(99999) %}{{ 'x' * 99999 }}{% endfor %}";
    assert!(matches!(fault(long), TemplateFault::Failed { .. }));
    let nested = "{% set ns = namespace(x=[]) %}{% for i in range(90000) %}{% set ns.x = [[[[[ns.x]]]]] %}{% endfor %}";
    assert_eq!(fault(nested), TemplateFault::Endless);
    let nested =
        "{% set ns = namespace(x=[]) %}{% for i in range(9000) %}{% set ns.x = [ns.x] %}{% endfor %}";
    assert_eq!(render(&format!("{nested}{{{{ ns.x }}}}"), &[]).unwrap().len(), 2 * 9001);
    assert!(matches!(fault(&format!("{nested}{{{{ ns.x | tojson }}}}")), TemplateFault::Failed { .. }));
}
