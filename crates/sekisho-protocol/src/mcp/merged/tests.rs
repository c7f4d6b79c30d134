//! What reaches a member and what comes back of it, text for text.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use super::*;

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn files() -> MemberName {
    MemberName::parse("files").unwrap()
}

#[test]
fn a_request_reaches_the_owner_of_what_it_names_with_nothing_else_changed() {
    let rows = [
        (
            "tools/call",
            r#"{ "x" : 1.0e2,"name":"files_read_it","arguments":{"name":"files_x", "n" : 1e2}, "_meta":{"traceparent":"t"}}"#,
            r#"{ "x" : 1.0e2,"name":"read_it","arguments":{"name":"files_x", "n" : 1e2}, "_meta":{"traceparent":"t"}}"#,
            "up to the first separator, and no other name",
        ),
        ("tools/call", r#"{"name":"fil\u0065s_a\nb"}"#, r#"{"name":"a\nb"}"#, "behind escapes"),
        ("tools/call", r#"{"n\u0061me":"files_a"}"#, r#"{"n\u0061me":"a"}"#, "the member too"),
        ("tools/call", r#"{"name":"files_"}"#, r#"{"name":""}"#, "a name may be empty"),
        (
            "prompts/get",
            r#"{"name":"files_p","arguments":null}"#,
            r#"{"name":"p","arguments":null}"#,
            "a prompt",
        ),
        (
            "resources/read",
            r#"{"uri":"files+file:///a+b_c"}"#,
            r#"{"uri":"file:///a+b_c"}"#,
            "a resource",
        ),
        ("resources/subscribe", r#"{"uri":"files+a:b"}"#, r#"{"uri":"a:b"}"#, "to follow one"),
        (
            "completion/complete",
            r#"{"argument":{"name":"files_x"},"ref":{"type":"ref/prompt","name":"files_p"}}"#,
            r#"{"argument":{"name":"files_x"},"ref":{"type":"ref/prompt","name":"p"}}"#,
            "a prompt to complete",
        ),
        (
            "completion/complete",
            r#"{"ref":{"uri":"files+{+any}","type":"ref/resource"},"argument":{}}"#,
            r#"{"ref":{"uri":"{+any}","type":"ref/resource"},"argument":{}}"#,
            "a template to complete",
        ),
    ];
    for (method, params, expected, reason) in rows {
        let params = raw(params);
        let addressed = Addressed::read(method, Some(&params)).unwrap().unwrap();
        assert_eq!(addressed.member, "files", "{reason}");
        assert_eq!(addressed.params.get(), expected, "{reason}");
    }
    for method in ["tools/list", "params/echo", "logging/setLevel"] {
        assert!(Addressed::read(method, Some(&raw("{}"))).unwrap().is_none(), "{method}");
    }
}

#[test]
fn a_request_that_names_nobodys_thing_or_two_reaches_nobody() {
    let long = format!(r#"{{"name":"files_{}"}}"#, "a".repeat(59));
    let rows = [
        ("tools/call", r#"{"name":"read"}"#, "nobody's"),
        ("tools/call", long.as_str(), "left out of lists, since clients refuse it"),
        ("tools/call", r#"{"name":"files_a","name":"mail_a"}"#, "two names"),
        ("tools/call", r#"{"name":"files_a","\u006eame":"mail_a"}"#, "one in disguise"),
        ("tools/call", r#"{"name":"files_a","arguments":[1]}"#, "arguments that are no object"),
        ("tools/call", r#"{"name":["files_a"]}"#, "no text"),
        ("tools/call", r#"["files_a",{}]"#, "no object"),
        ("tools/call", "{}", "none"),
        ("prompts/get", r#"{"name":"files_a","arguments":"x"}"#, "the same for prompts"),
        ("resources/read", r#"{"uri":"file:///a"}"#, "a member's own URI"),
        ("resources/read", r#"{"uri":"files+a:","uri":"mail+a:"}"#, "two URIs"),
        ("resources/read", r#"{"uri":7}"#, "no text"),
        ("completion/complete", r#"{"ref":{"type":"ref/tool","name":"files_a"}}"#, "another kind"),
        ("completion/complete", r#"{"ref":{"type":"ref/prompt","uri":"files+a:"}}"#, "no name"),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"files_a"},"ref":{"type":"ref/prompt","name":"mail_a"}}"#,
            "two of them",
        ),
    ];
    for (method, params, reason) in rows {
        let error = Addressed::read(method, Some(&raw(params))).unwrap_err();
        assert!(matches!(error.code(), Some(-32602 | -32002)), "{params}: {reason}: {error}");
    }
    assert!(Addressed::read("tools/call", None).is_err());
}

#[test]
fn uris_of_a_result_lead_back_and_nothing_else_changes() {
    let rows = [
        (
            "tools/call",
            r#"{"content":[{"type":"resource_link","uri":"a:b" , "name":"n"},{"type":"text","text":"a:b"}],"structuredContent":{"uri":"a:b"},"_meta":{"uri":"a:b"}}"#,
            r#"{"content":[{"type":"resource_link","uri":"files+a:b" , "name":"n"},{"type":"text","text":"a:b"}],"structuredContent":{"uri":"a:b"},"_meta":{"uri":"a:b"}}"#,
            "a link",
        ),
        (
            "tools/call",
            r#"{"content":[{"type":"resource","resource":{"uri":"a:\u0062","text":""}}]}"#,
            r#"{"content":[{"type":"resource","resource":{"uri":"files+a:b","text":""}}]}"#,
            "one put in whole",
        ),
        (
            "prompts/get",
            r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"a:b"}}},{"content":{"type":"text"}}]}"#,
            r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"files+a:b"}}},{"content":{"type":"text"}}]}"#,
            "in a prompt",
        ),
        (
            "resources/read",
            r#"{"contents":[{"uri":"a:b","text":"x"},{"uri":"a:c"}],"x" : 1.0e2}"#,
            r#"{"contents":[{"uri":"files+a:b","text":"x"},{"uri":"files+a:c"}],"x" : 1.0e2}"#,
            "what was read",
        ),
        (
            "tools/call",
            r#"{"content":[{"type":"resource_link","uri":"notes+a","uri":"notes+a"}]}"#,
            r#"{"content":[{"type":"text","text":""}]}"#,
            "a link to another's, said twice",
        ),
        (
            "tools/call",
            r#"{"content":[{"type":"resource","resource":{"uri":"notes+a","uri":"a"}}]}"#,
            r#"{"content":[{"type":"text","text":""}]}"#,
            "one put in whole as another's",
        ),
        ("tools/call", r#"{"content":[ 1.0e2 ]}"#, r#"{"content":[ 1.0e2 ]}"#, "nothing in it"),
        ("tools/call", r#"{"content":{"uri":1}}"#, r#"{"content":{"uri":1}}"#, "no URI"),
        ("tools/call", r#"["uri"]"#, r#"["uri"]"#, "what nobody can read"),
        ("completion/complete", r#"{"uri":"a:b"}"#, r#"{"uri":"a:b"}"#, "no resource"),
    ];
    for (method, result, expected, reason) in rows {
        let result = raw(result);
        assert_eq!(result_of_member(method, &files(), &result).get(), expected, "{reason}");
    }
}

#[test]
fn entries_of_a_list_are_renamed_and_nothing_else_in_them_changes() {
    let long = "a".repeat(59);
    let with_long = format!(r#"{{"tools":[{{"name":"{long}"}},{{"name":"b"}}]}}"#);
    let rows = [
        (
            List::Tools,
            r#"{"tools":[ {"name":"a" , "title":"A","x":1.0e2},{"n\u0061me":"b\u0063"} ],"y":1}"#,
            r#"{"name":"files_a" , "title":"A","x":1.0e2},{"n\u0061me":"files_bc"}"#,
            "tools",
        ),
        (List::Prompts, r#"{"prompts":[{"name":"a"}]}"#, r#"{"name":"files_a"}"#, "prompts"),
        (
            List::Resources,
            r#"{"resources":[{"uri":"a:b","name":"n"}]}"#,
            r#"{"uri":"files+a:b","name":"n"}"#,
            "resources, by where they are",
        ),
        (
            List::Templates,
            r#"{"resourceTemplates":[{"uriTemplate":"a:{b}"}]}"#,
            r#"{"uriTemplate":"files+a:{b}"}"#,
            "templates",
        ),
        (
            List::Tools,
            r#"{"tools":[{"title":"x"},{"name":"a","name":"b"},7,["a"],{"name":1},{"name":"c"}]}"#,
            r#"{"name":"files_c"}"#,
            "what has not one name goes",
        ),
        (List::Tools, with_long.as_str(), r#"{"name":"files_b"}"#, "a name too long goes"),
        (List::Tools, r#"{"tools":[]}"#, "", "none"),
    ];
    for (list, result, expected, reason) in rows {
        let page = Page::read(list, &files(), &raw(result)).unwrap();
        assert_eq!(page.entries, expected, "{reason}");
    }
    let page = Page::read(List::Tools, &files(), &raw(&with_long)).unwrap();
    assert_eq!(page.left_out, [long]);
    for (result, reason) in [
        (r#"{"prompts":[]}"#, "another list"),
        (r#"{"tools":{}}"#, "no list"),
        (r#"{"tools":[],"tools":[]}"#, "two lists"),
        (r#"{"tools":[],"nextCursor":7}"#, "a cursor that is no text"),
        ("[[]]", "no object"),
    ] {
        assert_eq!(Page::read(List::Tools, &files(), &raw(result)), None, "{reason}");
    }
}

#[test]
fn a_cursor_leads_on_where_each_list_has_a_next_page_and_is_good_for_this_list() {
    let [files, mail, web] = ["files", "mail", "web"].map(|name| MemberName::parse(name).unwrap());
    let page = |member, text: &str| Page::read(List::Tools, member, &raw(text)).unwrap();
    let pages = [
        (&files, page(&files, r#"{"tools":[{"name":"a"}],"nextCursor":"c\"1"}"#)),
        (&mail, page(&mail, r#"{"tools":[]}"#)),
        (&web, page(&web, r#"{"tools":[{"name":"b"}],"nextCursor":""}"#)),
    ];
    let all = page_of_all(List::Tools, pages.iter().map(|(name, page)| (*name, page))).unwrap();
    let read: serde_json::Value = serde_json::from_str(all.get()).unwrap();
    assert_eq!(read["tools"], serde_json::json!([{ "name": "files_a" }, { "name": "web_b" }]));
    let cursor = read["nextCursor"].as_str().unwrap();

    let params = raw(&format!(r#"{{"_meta":{{"x" : 1}},"cursor":"{cursor}"}}"#));
    let next = PageAsked::read(List::Tools, Some(&params)).unwrap();
    let expected = [("files", "c\"1"), ("web", "")];
    let expected = expected.map(|(name, cursor)| (name.to_owned(), cursor.to_owned()));
    assert_eq!(next, PageAsked::Next(expected.into()));
    let theirs = params_with_cursor(Some(&params), "c\"1").unwrap();
    assert_eq!(theirs.get(), r#"{"_meta":{"x" : 1},"cursor":"c\"1"}"#);

    for first in [None, Some("{}"), Some(r#"{"cursor":null}"#)] {
        let params = first.map(raw);
        let asked = PageAsked::read(List::Tools, params.as_deref()).unwrap();
        assert_eq!(asked, PageAsked::First, "{first:?}");
    }
    let of = |json: &str| format!("{{\"cursor\":\"{}\"}}", URL_SAFE_NO_PAD.encode(json));
    let rows = [
        (List::Prompts, params.get().to_owned(), "another list"),
        (List::Tools, r#"{"cursor":"2"}"#.to_owned(), "a member's own"),
        (List::Tools, r#"{"cursor":7}"#.to_owned(), "no text"),
        (List::Tools, of("{}"), "nothing in it"),
        (List::Tools, of(r#"{"list":"tools/list","next":{}}"#), "no member"),
        (List::Tools, of(r#"{"list":"tools/list","next":{"a":1}}"#), "no cursor"),
        (List::Tools, of(r#"{"list":"tools/list","next":{"a":""},"x":1}"#), "more than that"),
        (List::Tools, format!("{{\"cursor\":\"{}\"}}", "A".repeat(CURSOR_BYTES_MAX + 4)), "long"),
        (List::Tools, format!("{{\"cursor\":\"{cursor}\",\"cursor\":\"\"}}"), "two"),
    ];
    for (list, params, reason) in rows {
        assert!(PageAsked::read(list, Some(&raw(&params))).is_err(), "{reason}");
    }
}

#[test]
fn a_list_ends_where_its_cursor_is_too_long() {
    let read = |length: usize| {
        let text = format!(r#"{{"tools":[],"nextCursor":"{}"}}"#, "x".repeat(length));
        Page::read(List::Tools, &files(), &raw(&text)).unwrap()
    };
    let (mut kept, mut cut) = (read(MEMBER_CURSOR_BYTES_MAX), read(MEMBER_CURSOR_BYTES_MAX + 1));
    assert!(!kept.end_at_long_cursor() && kept.next.is_some());
    assert!(cut.end_at_long_cursor() && cut.next.is_none());
}
