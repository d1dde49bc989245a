/* Leaks memory, so that a test can check that valgrind detects leaks. */

#include "check.h"

int main(void) {
    CHECK(malloc(strlen(lhttp_version())) != NULL);
    return 0;
}
