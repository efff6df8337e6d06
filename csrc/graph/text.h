/* Fields of a description as JSON, or as lines of "label: value", without the brackets around them. */
#ifndef DWCONV_TEXT_H
#define DWCONV_TEXT_H

#include "../internal.h"

typedef struct dwc_text {
    char *buffer;
    size_t size, used;   /* used may be more than size: what was left out counts too */
    int is_json, begins; /* begins: nothing is in the innermost array or object yet */
} dwc_text;

/* A text in what callers gave, empty, and what they are told when it is through. */
DWC_HIDDEN dwconv_status dwc_text_begin(dwc_text *t, dwconv_format format, char *buffer, size_t size);
DWC_HIDDEN dwconv_status dwc_text_end(dwc_text *t, size_t *needed);
/* The key of what is in an array is NULL. */
DWC_HIDDEN void dwc_text_open(dwc_text *t, const char *key, char bracket);
DWC_HIDDEN void dwc_text_close(dwc_text *t, char bracket);
DWC_HIDDEN void dwc_text_int(dwc_text *t, const char *key, int64_t value);
DWC_HIDDEN void dwc_text_string(dwc_text *t, const char *key, const char *value);

#endif
