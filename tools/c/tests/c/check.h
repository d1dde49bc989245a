/* The assertions of the tests' C programs. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lhttp.h"

/* Ends the program unless `condition` holds. */
#define CHECK(condition)                                                                                              \
    do {                                                                                                              \
        if (!(condition)) {                                                                                           \
            fprintf(stderr, "%s:%d: not so: %s; last error: %s\n", __FILE__, __LINE__, #condition,                    \
                    lhttp_last_error());                                                                              \
            exit(1);                                                                                                  \
        }                                                                                                             \
    } while (0)

/* Ends the program unless `call` gives `expected`. */
#define CHECK_STATUS(expected, call)                                                                                  \
    do {                                                                                                              \
        lhttp_status status_ = (call);                                                                                \
        if (status_ != (expected)) {                                                                                  \
            fprintf(stderr, "%s:%d: %s is %d, not %s; last error: %s\n", __FILE__, __LINE__, #call, status_,          \
                    #expected, lhttp_last_error());                                                                   \
            exit(1);                                                                                                  \
        }                                                                                                             \
    } while (0)

#define CHECK_OK(call) CHECK_STATUS(LHTTP_OK, call)

/* Ends the program unless `call` gives `expected`, and the last error contains `part`. */
#define CHECK_FAILS(expected, part, call)                                                                             \
    do {                                                                                                              \
        CHECK_STATUS(expected, call);                                                                                 \
        CHECK(strstr(lhttp_last_error(), part) != NULL);                                                              \
    } while (0)

#endif
