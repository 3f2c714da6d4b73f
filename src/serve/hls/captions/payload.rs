//! The payload of a cue: what is said, as WebVTT writes it.

/// A payload in the making. Whatever is put in, what comes out has no empty line, no arrow, and every tag closed in the order
/// that nesting asks for.
#[derive(Debug, Default)]
pub(super) struct Payload {
    out: String,
    /// What is open, outermost first.
    open: Vec<Style>,
    /// What is to be opened before the next letter.
    pending: Vec<Style>,
    has_text: bool,
    /// Where the present line begins.
    line: usize,
}

/// What a piece of a line looks like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Style {
    Bold,
    Italic,
    Underlined,
}

// === impl Payload ===

impl Payload {
    /// Adds text, which says nothing but itself.
    pub(super) fn text(&mut self, text: &str) {
        for c in text.chars() {
            if !c.is_whitespace() {
                self.begin();
            }
            match c {
                '&' => self.out.push_str("&amp;"),
                '<' => self.out.push_str("&lt;"),
                '>' => self.out.push_str("&gt;"),
                '\n' => self.line_break(),
                c => self.out.push(c),
            }
        }
    }

    /// Adds a character by its reference, `&lt;` for instance.
    pub(super) fn reference(&mut self, reference: &str) {
        self.begin();
        self.out.push_str(reference);
    }

    /// Ends the line, if there is anything on it.
    pub(super) fn line_break(&mut self) {
        let kept = self.out[self.line..].trim_end_matches([' ', '\t']).len();
        self.out.truncate(self.line + kept);
        if kept > 0 {
            self.out.push('\n');
            self.line = self.out.len();
        }
    }

    /// From here on, or no longer.
    pub(super) fn style(&mut self, style: Style, is_on: bool) {
        let place = self.open.iter().position(|open| *open == style);
        match (place, is_on) {
            (None, true) if !self.pending.contains(&style) => self.pending.push(style),
            (None, false) => self.pending.retain(|pending| *pending != style),
            (Some(place), false) => {
                let inner = self.close(place);
                // WebVTT nests; what was opened inside goes on after it.
                self.pending.splice(..0, inner.into_iter().skip(1));
            }
            (_, true) => {}
        }
    }

    /// The payload; none where there is nothing to be seen in it.
    pub(super) fn finish(mut self) -> Option<String> {
        self.line_break();
        self.close(0);
        self.out.truncate(self.out.trim_end_matches('\n').len());
        self.has_text.then_some(self.out)
    }

    /// Opens what is pending: a letter follows.
    fn begin(&mut self) {
        for style in std::mem::take(&mut self.pending) {
            self.out.push_str(style.tags().0);
            self.open.push(style);
        }
        self.has_text = true;
    }

    /// Closes all from a place on, on the line on which it was last needed.
    fn close(&mut self, place: usize) -> Vec<Style> {
        let inner = self.open.split_off(place);
        let is_at_a_lines_begin = self.out.ends_with('\n');
        if is_at_a_lines_begin {
            self.out.pop();
        }
        for style in inner.iter().rev() {
            self.out.push_str(style.tags().1);
        }
        if is_at_a_lines_begin {
            self.out.push('\n');
            self.line = self.out.len();
        }
        inner
    }
}

// === impl Style ===

impl Style {
    fn tags(self) -> (&'static str, &'static str) {
        match self {
            Self::Bold => ("<b>", "</b>"),
            Self::Italic => ("<i>", "</i>"),
            Self::Underlined => ("<u>", "</u>"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_nested_and_closed() {
        let mut payload = Payload::default();
        payload.style(Style::Italic, true);
        payload.text("a");
        payload.style(Style::Bold, true);
        payload.style(Style::Bold, true);
        payload.text("b");
        payload.style(Style::Italic, false);
        payload.text("c");
        payload.style(Style::Underlined, true);
        payload.text("\n");
        payload.style(Style::Underlined, false);
        payload.style(Style::Bold, false);
        payload.text("d");
        assert_eq!(payload.finish().unwrap(), "<i>a<b>b</b></i><b>c</b>\nd");
    }

    #[test]
    fn lines_are_never_empty_and_nothing_in_them_is_markup() {
        let mut payload = Payload::default();
        payload.text("\n\n a & b --> <c>  \n \t\n\n");
        payload.line_break();
        payload.style(Style::Italic, true);
        payload.text("\n d\n ");
        assert_eq!(payload.finish().unwrap(), " a &amp; b --&gt; &lt;c&gt;\n <i>d</i>");
    }

    #[test]
    fn what_cannot_be_seen_is_no_payload() {
        let mut payload = Payload::default();
        payload.style(Style::Italic, true);
        payload.text(" \u{a0}\u{3000}\n");
        assert_eq!(payload.finish(), None);
    }
}
