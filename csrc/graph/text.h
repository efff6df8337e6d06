/* Fields of a description as JSON, or as lines of "label: value", without the brackets around them. */
#ifndef DWCONV_TEXT_H
#define DWCONV_TEXT_H

#include "../internal.h"

typedef struct dwc_text {
    char *buffer;
    size_t size, used;   /* used may be more than size: what was left out counts too */
    int is_json, begins; /* begins: nothing is in the innermost array or object yet */
} dwc_text;

/* The key of what is in an array is NULL. */
DWC_HIDDEN void dwc_text_open(dwc_text *t, const char *key, char bracket);
DWC_HIDDEN void dwc_text_close(dwc_text *t, char bracket);
DWC_HIDDEN void dwc_text_int(dwc_text *t, const char *key, int64_t value);
DWC_HIDDEN void dwc_text_string(dwc_text *t, const char *key, const char *value);

#endif
