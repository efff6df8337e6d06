/* See text.h. */
#include "text.h"

#include <stdarg.h>
#include <stdio.h>

__attribute__((format(printf, 2, 3))) static void put(dwc_text *t, const char *format, ...) {
    char *rest = t->used < t->size ? t->buffer + t->used : NULL;
    va_list arguments;
    va_start(arguments, format);
    t->used += (size_t)vsnprintf(rest, rest ? t->size - t->used : 0, format, arguments);
    va_end(arguments);
}

/* What comes before a value, a label in text. */
static void put_key(dwc_text *t, const char *key) {
    if (t->is_json) put(t, t->begins ? "" : ", ");
    if (t->is_json && key) put(t, "\"%s\": ", key);
    for (; !t->is_json && *key; key++) put(t, "%c", *key == '_' ? ' ' : *key);
    t->begins = 0;
}

dwconv_status dwc_text_begin(dwc_text *t, dwconv_format format, char *buffer, size_t size) {
    *t = (dwc_text){.buffer = buffer, .size = size, .is_json = format == DWCONV_JSON, .begins = 1};
    if (!buffer && size) return DWCONV_NULL_POINTER;
    if (format != DWCONV_TEXT && format != DWCONV_JSON) return DWCONV_BAD_VALUE;
    if (size) buffer[0] = 0;
    return DWCONV_OK;
}

dwconv_status dwc_text_end(dwc_text *t, size_t *needed) {
    if (needed) *needed = t->used + 1;
    return t->size && t->size <= t->used ? DWCONV_TOO_SMALL : DWCONV_OK;
}

void dwc_text_open(dwc_text *t, const char *key, char bracket) {
    if (!t->is_json) return;
    put_key(t, key);
    put(t, "%c", bracket);
    t->begins = 1;
}

void dwc_text_close(dwc_text *t, char bracket) {
    if (t->is_json) put(t, "%c", bracket);
    t->begins = 0;
}

void dwc_text_int(dwc_text *t, const char *key, int64_t value) {
    put_key(t, key);
    put(t, t->is_json ? "%lld" : ": %lld\n", (long long)value);
}

void dwc_text_string(dwc_text *t, const char *key, const char *value) {
    put_key(t, key);
    put(t, t->is_json ? "\"%s\"" : ": %s\n", value);
}
