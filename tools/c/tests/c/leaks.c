/* Loses memory, so that a test can see that valgrind would tell. */

#include "check.h"

int main(void) {
    CHECK(malloc(strlen(lhttp_version())) != NULL);
    return 0;
}
