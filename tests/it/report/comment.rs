//! Foreign text never acts in the comment. A Markdown parser of its own judges, not our idea of Markdown.

use proptest::prelude::*;
use pulldown_cmark::{Event as Markdown, Options, Parser, Tag, TagEnd};
use shipway::{
    domain::{
        event::Event,
        problem::{Code, EvidenceKind, Problem},
        redact::Redactor,
    },
    report::{Ci, Commit, Draft, Image, NotDone, Recorder, Release, Report, Stage, comment, message},
};

use super::sample;

/// A report that holds this text wherever foreign text can come from.
fn filled(text: &str) -> Report {
    let mut draft = Draft::new("0.1.0", "run", sample::begin());
    fill(&mut draft, text);
    let problem =
        Problem::new(Code::CrashLoop, text).hint(text).evidence(EvidenceKind::Log, text, text).evidence(EvidenceKind::Event, "pod/x", text);
    draft.finish(Some(&problem), sample::begin(), &Redactor::default())
}

/// The comments of that run while it goes on.
fn filled_live(text: &str, limit: usize) -> Vec<String> {
    let recorder = Recorder::new("0.1.0", "run");
    recorder.record(|draft| fill(draft, text));
    let so_far = recorder.so_far(&Redactor::default()).unwrap();
    [Stage::Started, Stage::Rolling, Stage::RollingBack].map(|stage| comment::live(&so_far, stage, limit)).into()
}

fn fill(draft: &mut Draft, text: &str) {
    draft.app(text, text);
    draft.environment(Some(text.into()));
    draft.ci(Ci { kind: text.into(), job_url: Some(format!("https://ci.example.test/{text}")), pipeline: None });
    draft.report_url(Some(format!("https://ci.example.test/{text}")));
    draft.commit(Commit { sha: text.into(), reference: Some(text.into()), author: Some(text.into()), title: Some(text.into()) });
    draft.image(Image { reference: text.into(), ..Image::default() });
    draft.release(Release { namespace: text.into(), name: text.into(), ..Release::default() }, Some(text.into()));
    draft.not_done(NotDone { what: text.into(), instead: Some(text.into()), setting: text.into() });
    draft.event(Event::Warning { text: text.into(), hint: text.into() }, sample::begin());
    let of = || text.to_string();
    draft.event(Event::Difference { kind: of(), name: of(), text: of(), image: Some(of()), replicas: Some(1) }, sample::begin());
}

/// What a forge would act on: text, markup, links and images outside of code.
fn active(comment: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut in_code = false;
    for event in Parser::new_ext(comment, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS) {
        match event {
            Markdown::Start(Tag::CodeBlock(_)) => in_code = true,
            Markdown::End(TagEnd::CodeBlock) => in_code = false,
            Markdown::Start(Tag::Link { dest_url, .. }) => found.push(format!("link {dest_url}")),
            Markdown::Start(Tag::Image { dest_url, .. }) => found.push(format!("image {dest_url}")),
            Markdown::Html(html) | Markdown::InlineHtml(html) => found.push(html.to_string()),
            Markdown::Text(text) if !in_code => found.push(text.to_string()),
            _ => {}
        }
    }
    found
}

/// Between `<code>` and `</code>` of a fold's title a source's name stands as text: nothing in it may be more.
fn is_harmless(text: &str) -> bool {
    !text.contains(['@', '`', '[', ']', '!', '~', '$', '%']) && !text.contains("://") && !text.contains("ZZQ<")
}

fn judge(foreign: &str, limit: usize) -> Result<(), TestCaseError> {
    judge_comment(&comment::render(&filled(foreign), limit), limit)?;
    filled_live(foreign, limit).iter().try_for_each(|comment| judge_comment(comment, limit))
}

fn judge_comment(comment: &str, limit: usize) -> Result<(), TestCaseError> {
    prop_assert!(comment.len() <= limit, "{} bytes", comment.len());
    for line in comment.lines() {
        prop_assert!(!line.trim_start().starts_with('/'), "a quick action: {line:?}");
        prop_assert!(line.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{line:?}");
    }
    for text in active(comment) {
        let ours =
            text.starts_with("link https://ci.example.test/") || text.starts_with("<!-- shipway ") || text.starts_with("<!-- pipeline ");
        let tags = ["<details>", "<summary>", "</summary>", "</details>", "<code>", "</code>", "<sub>", "</sub>"];
        let markup = tags.iter().fold(text.clone(), |rest, tag| rest.replace(tag, ""));
        let foreign_markup = markup.contains('<') && !ours;
        prop_assert!(ours || (is_harmless(&markup) && !foreign_markup), "{text:?} acts in\n{comment}");
    }
    Ok(())
}

#[test]
fn known_tricks_do_nothing() {
    let tricks = [
        "/close",
        "x\n/merge\n/label ~prod",
        "```\n/approve\n```",
        "````\n@all\n`````\n@all",
        "`@all` ``@all``",
        "</code></summary></details>\n\n@all <img src=x>",
        "| a | @all |\n|---|---|",
        "a\\| @all",
        "[x](javascript:alert(1)) ![x](https://evil.test/x.png)",
        "--> <script>alert(1)</script> <!--",
        "\u{202e}@all\u{1b}[31m",
        "https://evil.test #1 !2 ~label $3 %4 &5",
        "<https://evil.test>",
        "\\`@all",
        "~~~\n@all\n~~~",
        "    @all",
        ">```>x>",
        "",
        " ` ",
        "\u{85}/close\u{2028}/close\u{b}/close\u{c}/close\r/close",
    ];
    for trick in tricks {
        judge(trick, comment::LIMIT).unwrap_or_else(|error| panic!("{trick:?}: {error}"));
    }
}

#[test]
fn a_long_comment_loses_its_middle_first() {
    let log = format!("first line\n{}the cause\n", "at com.example.Noise(Noise.java:1)\n".repeat(50_000));
    let comment = comment::render(&filled(&log), 20_000);
    assert!(comment.len() <= 20_000 && comment.contains("first line") && comment.contains("the cause"), "{comment}");
    assert!(comment.contains("bytes left out"));
    assert_eq!(comment.matches("<details>").count(), comment.matches("</details>").count());
}

#[test]
fn the_marker_is_the_same_for_the_same_application() {
    let marker = comment::marker(&sample::succeeded().report());
    assert_eq!(marker, "<!-- shipway order-service prod -->");
    assert!(comment::render(&sample::rolled_back().report(), comment::LIMIT).starts_with(&marker));
    assert_eq!(comment::marker(&sample::nothing_configured().report()), "<!-- shipway order-service -->");
}

#[test]
fn our_words_stand_as_they_are_and_names_in_code() {
    let mut draft = Draft::new("0.1.0", "run", sample::begin());
    draft.app("web5", "web");
    let warning = |text: &str, hint: &str| Event::Warning { text: text.into(), hint: hint.into() };
    draft.event(warning("the API server's answer: GH-1, see a.test/x y.test: 404", "set image.base, or wait"), sample::begin());
    draft.event(warning("`a `` b` 1a2b3c4d /close @all", ""), sample::begin());
    let text = comment::render(&draft.finish(None, sample::begin(), &Redactor::default()), comment::LIMIT);
    assert!(text.starts_with("<!-- shipway web5 -->\n### ✅ `web5` succeeded\n"), "{text}");
    assert!(text.contains("- ⚠️ the API server's answer: `GH-1`, see `a.test/x y.test`: 404 → set `image.base`, or wait\n"), "{text}");
    assert!(text.contains("- ⚠️ ``` `a `` b` 1a2b3c4d /close @all ```\n"), "{text}");
}

/// What a chat could act on: markup, mentions, addresses.
fn judge_message(foreign: &str) -> Result<(), TestCaseError> {
    let message = message::message(&filled(foreign));
    for text in message.facts.iter().map(|(_, text)| text).chain([&message.title]) {
        prop_assert!(!text.contains(['<', '>', '@', '[', ']', '`', '*', '\\', '#', '|', '~', '\n']) && !text.contains("://"), "{text:?}");
        prop_assert!(text.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{text:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_acts(text in "([`~|<>@/\\\\!\\[\\]()#*_$%&:\\-\n\r a-c\"']|```|\n/|</|-->|\u{202e}|\u{1b}|é){0,120}", limit in 12_000usize..40_000) {
        judge(&text, limit)?;
        judge_message(&text)?;
    }

    #[test]
    fn no_unicode_acts(text in any::<String>()) {
        judge(&text, comment::LIMIT)?;
    }
}
