//! The message in each receiver's form, within its limits.

use serde_json::{Value, json};

use super::{Kind, Message};

/// Slack: characters of a header, of a field, and how many fields a section has.
const SLACK: (usize, usize, usize) = (150, 2000, 10);
/// WeCom: bytes of a Markdown message.
const WECOM: usize = 4096;
/// DingTalk and Feishu take 20,000 bytes with everything around the text; half of them for the text is plenty.
const LONGEST: usize = 10_000;

pub(super) fn of(kind: Kind, message: &Message) -> Value {
    match kind {
        Kind::Generic => generic(message),
        Kind::Slack => slack(message),
        Kind::Dingtalk => json!({
            "msgtype": "markdown",
            "markdown": {"title": first(&message.title, 64), "text": markdown(message, "\n\n", LONGEST)},
            "at": {"isAtAll": false},
        }),
        Kind::Wecom => json!({"msgtype": "markdown", "markdown": {"content": markdown(message, "\n", WECOM)}}),
        Kind::Feishu => feishu(message),
    }
}

/// The head of the report, and `text` with the whole message, which Slack's many relatives show.
fn generic(message: &Message) -> Value {
    let mut data = message.data.clone();
    data["title"] = json!(message.title);
    data["text"] = json!(lines(message).join("\n"));
    data
}

fn lines(message: &Message) -> Vec<String> {
    let facts = message.facts.iter().map(|(label, text)| format!("{label}: {text}"));
    let links = message.links.iter().map(|(label, url)| format!("{label}: {url}"));
    [message.title.clone()].into_iter().chain(facts).chain(links).collect()
}

/// Plain text everywhere but for the links, which are ours.
fn slack(message: &Message) -> Value {
    let (header, field, fields) = SLACK;
    let plain = |text: String| json!({"type": "plain_text", "text": text, "emoji": false});
    let sign = if message.good { "✅" } else { "❌" };
    let mut blocks = vec![json!({"type": "header", "text": plain(first(&format!("{sign} {}", message.title), header))})];
    let facts: Vec<Value> =
        message.facts.iter().take(fields).map(|(label, text)| plain(first(&format!("{label}\n{text}"), field))).collect();
    if !facts.is_empty() {
        blocks.push(json!({"type": "section", "fields": facts}));
    }
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('|', "%7C");
    let links: Vec<String> = message.links.iter().map(|(label, url)| format!("<{}|{label}>", escape(url))).collect();
    if !links.is_empty() {
        blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": links.join(" · ")}]}));
    }
    let fallback = message.title.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    json!({"text": fallback, "blocks": blocks})
}

fn feishu(message: &Message) -> Value {
    let plain = |text: String| json!({"tag": "plain_text", "content": text});
    let share = LONGEST / (message.facts.len() + 1);
    let fields = message.facts.iter().map(|(label, text)| {
        let text = within(&format!("{label}\n{text}"), share);
        json!({"is_short": text.len() < 60, "text": plain(text)})
    });
    let mut elements = vec![json!({"tag": "div", "fields": fields.collect::<Vec<_>>()})];
    let buttons: Vec<Value> = message
        .links
        .iter()
        .map(|(label, url)| json!({"tag": "button", "type": "default", "text": plain(label.clone()), "url": url}))
        .collect();
    if !buttons.is_empty() {
        elements.push(json!({"tag": "action", "actions": buttons}));
    }
    let color = if message.good { "green" } else { "red" };
    let header = json!({"template": color, "title": plain(within(&message.title, share))});
    json!({"msg_type": "interactive", "card": {"config": {"wide_screen_mode": true}, "header": header, "elements": elements}})
}

/// The Markdown that DingTalk and WeCom share: bold, links and line breaks. The links, at the end, are never cut.
fn markdown(message: &Message, line_end: &str, limit: usize) -> String {
    let sign = if message.good { "✅" } else { "❌" };
    let links: Vec<String> = message.links.iter().map(|(label, url)| format!("[{label}]({})", destination(url))).collect();
    let links = if links.is_empty() { String::new() } else { format!("{line_end}{}", links.join(" · ")) };
    let links = if links.len() > limit / 2 { String::new() } else { links };
    let facts = message.facts.iter().map(|(label, text)| format!("**{label}:** {text}"));
    let lines: Vec<String> = [format!("**{sign} {}**", message.title)].into_iter().chain(facts).collect();
    format!("{}{links}", within(&lines.join(line_end), limit - links.len()))
}

/// An address that cannot end its link.
fn destination(url: &str) -> String {
    url.replace('(', "%28").replace(')', "%29").replace(' ', "%20")
}

/// At most so many characters.
fn first(text: &str, longest: usize) -> String {
    match text.chars().count() <= longest {
        true => text.to_string(),
        false => text.chars().take(longest - 1).chain(['…']).collect(),
    }
}

/// At most so many bytes, cut between characters.
fn within(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_string();
    }
    let mut end = limit.saturating_sub('…'.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(letters: usize) -> Message {
        let text = "日".repeat(letters);
        Message {
            title: text.clone(),
            good: false,
            facts: vec![("Cause".into(), text.clone()), ("What to do".into(), text)],
            links: vec![("The job".into(), "https://ci.example.test/a(b)?x=<1>|2&y".into())],
            data: json!({"schema": 1}),
        }
    }

    #[test]
    fn limits_hold_whatever_comes() {
        for letters in [0, 10, 500, 5000, 50_000] {
            let message = long(letters);
            let wecom = of(Kind::Wecom, &message);
            assert!(wecom["markdown"]["content"].as_str().unwrap().len() <= WECOM);
            assert!(wecom["markdown"]["content"].as_str().unwrap().ends_with("(https://ci.example.test/a%28b%29?x=<1>|2&y)"));
            for kind in [Kind::Dingtalk, Kind::Feishu] {
                assert!(of(kind, &message).to_string().len() <= 20_000, "{kind:?}");
            }
            let slack = of(Kind::Slack, &message);
            assert!(slack["blocks"][0]["text"]["text"].as_str().unwrap().chars().count() <= 150);
            assert!(
                slack["blocks"][1]["fields"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|field| field["text"].as_str().unwrap().chars().count() <= 2000)
            );
            assert!(slack.to_string().contains("<https://ci.example.test/a(b)?x=&lt;1&gt;%7C2&amp;y|The job>"));
        }
    }

    #[test]
    fn programs_get_the_report_and_a_text() {
        let message = of(Kind::Generic, &long(3));
        assert_eq!(message["schema"], 1);
        assert_eq!(message["text"], "日日日\nCause: 日日日\nWhat to do: 日日日\nThe job: https://ci.example.test/a(b)?x=<1>|2&y");
    }
}
