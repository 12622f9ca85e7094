#include "pg_extension/statement_text.hpp"

#include <cstring>

namespace tiercache {

namespace {

[[nodiscard]] bool is_space(char c) noexcept {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

[[nodiscard]] bool is_word(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || static_cast<unsigned char>(c) >= 0x80;
}

void trim_end(std::string_view& text) noexcept {
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
}

// A comment at the front of `text`, or none. Comments of the second kind nest.
[[nodiscard]] bool skip_comment(std::string_view& text) noexcept {
    if (text.starts_with("--")) {
        const std::size_t end = text.find('\n');
        text.remove_prefix(end == std::string_view::npos ? text.size() : end);
        return true;
    }
    if (!text.starts_with("/*")) return false;
    int depth = 0;
    while (!text.empty()) {
        if (text.starts_with("/*")) {
            ++depth;
            text.remove_prefix(2);
        } else if (text.starts_with("*/")) {
            text.remove_prefix(2);
            if (--depth == 0) break;
        } else {
            text.remove_prefix(1);
        }
    }
    return true;
}

void skip_space(std::string_view& text) noexcept {
    while (!text.empty()) {
        if (is_space(text.front())) {
            text.remove_prefix(1);
        } else if (!skip_comment(text)) {
            return;
        }
    }
}

// Takes `word`, in lower case, off the front; and the space behind it.
[[nodiscard]] bool take(std::string_view& text, std::string_view word) noexcept {
    if (text.size() < word.size()) return false;
    if (pg_strncasecmp(text.data(), word.data(), word.size()) != 0) return false;
    if (text.size() > word.size() && is_word(text[word.size()])) return false;
    text.remove_prefix(word.size());
    skip_space(text);
    return true;
}

[[nodiscard]] bool begins_select(std::string_view text) noexcept {
    while (!text.empty() && text.front() == '(') {
        text.remove_prefix(1);
        skip_space(text);
    }
    return take(text, "select") || take(text, "with") || take(text, "values") || take(text, "table");
}

[[nodiscard]] bool take_parentheses(std::string_view& text) noexcept {
    int depth = 0;
    char quote = '\0';
    std::size_t i = 0;
    for (; i < text.size(); ++i) {
        const char c = text[i];
        if (quote != '\0') {
            if (c == quote) quote = '\0';
        } else if (c == '\'' || c == '"') {
            quote = c;
        } else if (c == '(') {
            ++depth;
        } else if (c == ')' && --depth == 0) {
            break;
        }
    }
    if (i == text.size()) return false;
    text.remove_prefix(i + 1);
    skip_space(text);
    return true;
}

[[nodiscard]] bool take_identifier(std::string_view& text) noexcept {
    std::size_t length = 0;
    if (text.starts_with('"')) {
        const std::size_t end = text.find('"', 1);
        if (end == std::string_view::npos) return false;
        length = end + 1;
    } else {
        while (length < text.size() && is_word(text[length])) ++length;
    }
    if (length == 0) return false;
    text.remove_prefix(length);
    skip_space(text);
    return true;
}

[[nodiscard]] bool take_explain(std::string_view& text) noexcept {
    if (!take(text, "explain")) return false;
    if (text.starts_with('(')) return begins_select(text) || take_parentheses(text);
    while (take(text, "analyze") || take(text, "analyse") || take(text, "verbose")) {
    }
    return true;
}

[[nodiscard]] bool take_prepare(std::string_view& text) noexcept {
    if (!take(text, "prepare")) return true;
    if (!take_identifier(text)) return false;
    if (text.starts_with('(') && !take_parentheses(text)) return false;
    return take(text, "as");
}

[[nodiscard]] bool is_declare(std::string_view text) noexcept {
    skip_space(text);
    return take(text, "declare");
}

[[nodiscard]] bool take_declare(std::string_view& text) noexcept {
    if (!take(text, "declare")) return true;
    if (!take_identifier(text)) return false;
    while (take(text, "binary") || take(text, "asensitive") || take(text, "insensitive") ||
           take(text, "no") || take(text, "scroll") || take(text, "cursor") || take(text, "with") ||
           take(text, "without") || take(text, "hold")) {
    }
    return take(text, "for");
}

}  // namespace

bool statement_text(const Query* query, const char* source, bool explained, std::string_view& text) noexcept {
    if (source == nullptr || query->stmt_location < 0) return false;
    const auto start = static_cast<std::size_t>(query->stmt_location);
    const std::size_t size = std::strlen(source);
    if (start > size) return false;
    text = {source + start, size - start};
    if (query->stmt_len > 0) {
        text = text.substr(0, static_cast<std::size_t>(query->stmt_len));
        trim_end(text);
    } else {
        trim_end(text);
        // A query inside another command has no place of its own: it starts at 0 and ends nowhere.
        if ((explained || is_declare(text)) && text.ends_with(';')) text.remove_suffix(1);
        trim_end(text);
        if (text.find(';') != std::string_view::npos) return false;
    }
    skip_space(text);
    if (explained && !take_explain(text)) return false;
    return take_declare(text) && take_prepare(text) && begins_select(text);
}

}  // namespace tiercache
