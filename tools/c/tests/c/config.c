/* The configuration, and old programs with a new library. */

#include <stdint.h>

#include "check.h"

/* The first version of lhttp_config. */
typedef struct {
    size_t size;
    lhttp_options *options;
} old_config;

/* A later version. */
typedef struct {
    lhttp_config known;
    void *later;
} new_config;

static void versions(void) {
    CHECK(strcmp(lhttp_version(), LHTTP_VERSION) == 0);
    CHECK(strcmp(lhttp_strerror(LHTTP_OK), "it worked") == 0);
    CHECK(strcmp(lhttp_strerror(12345), "an unknown status") == 0);
    CHECK(strcmp(lhttp_last_error(), "") == 0);
}

static void options(void) {
    lhttp_config config;
    CHECK_OK(lhttp_config_init(&config, sizeof config));
    CHECK(config.size == sizeof config && config.options != NULL && config.on_raw == NULL && config.raw_user == NULL);
    CHECK_OK(lhttp_config_set(&config, "max-message", "16KiB"));
    CHECK_OK(lhttp_config_set(&config, "timeouts.idle", "2m"));
    CHECK_OK(lhttp_config_set(&config, "log", "warn"));
    CHECK_FAILS(LHTTP_ERROR_OPTION, "mesage: there is no such option", lhttp_config_set(&config, "max-mesage", "1"));
    CHECK_FAILS(LHTTP_ERROR_OPTION, "did you mean max-message?", lhttp_config_set(&config, "max-mesage", "1"));
    CHECK_FAILS(LHTTP_ERROR_OPTION, "cores: \"two\"", lhttp_config_set(&config, "cores", "two"));
    CHECK_FAILS(LHTTP_ERROR_OPTION, "log: write off", lhttp_config_set(&config, "log", "loud"));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "name is NULL", lhttp_config_set(&config, NULL, "1"));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "value is not UTF-8", lhttp_config_set(&config, "nats-user", "\xff"));
    lhttp_config copy = config;
    CHECK_OK(lhttp_config_release(&config));
    CHECK_FAILS(LHTTP_ERROR_CLOSED, "this config was closed before", lhttp_config_release(&copy));
    CHECK_FAILS(LHTTP_ERROR_CLOSED, "closed before", lhttp_config_set(&copy, "cores", "1"));
}

/* Starts a server with `config` and stops it. */
static void serves(const lhttp_config *config) {
    lhttp_server *server;
    CHECK_OK(lhttp_start(config, &server));
    CHECK(lhttp_local_port(server) != 0);
    CHECK_OK(lhttp_stop(server, 0));
}

/* Without the second call POST /publish is refused, as serve.rs checks. */
static void a_filter_and_posts(void) {
    lhttp_filter filter = {.size = sizeof filter};
    lhttp_config config;
    CHECK_OK(lhttp_config_init(&config, sizeof config));
    CHECK_OK(lhttp_config_filter(&config, &filter));
    CHECK_OK(lhttp_config_publish_past_filters(&config));
    CHECK_OK(lhttp_config_set(&config, "listen", "127.0.0.1:0"));
    CHECK_OK(lhttp_config_set(&config, "cores", "1"));
    serves(&config);
    CHECK_OK(lhttp_config_release(&config));
    CHECK_FAILS(LHTTP_ERROR_CLOSED, "closed before", lhttp_config_publish_past_filters(&config));
}

static void small_server(void *config) {
    CHECK_OK(lhttp_config_set(config, "listen", "127.0.0.1:0"));
    CHECK_OK(lhttp_config_set(config, "cores", "1"));
}

/* The library must neither read nor write fields that the program does not have. */
static void an_old_program(void) {
    struct {
        old_config config;
        uint64_t behind[4];
    } place;
    memset(&place, 0xa5, sizeof place);
    CHECK_OK(lhttp_config_init((lhttp_config *)&place.config, sizeof place.config));
    small_server(&place.config);
    serves((lhttp_config *)&place.config);
    CHECK_OK(lhttp_config_release((lhttp_config *)&place.config));
    for (int i = 0; i < 4; i++) CHECK(place.behind[i] == 0xa5a5a5a5a5a5a5a5);

    /* The same on the heap, where valgrind detects each byte beyond the end. */
    old_config *heap = malloc(sizeof *heap);
    CHECK(heap != NULL);
    CHECK_OK(lhttp_config_init((lhttp_config *)heap, sizeof *heap));
    small_server(heap);
    serves((lhttp_config *)heap);
    CHECK_OK(lhttp_config_release((lhttp_config *)heap));
    free(heap);
}

/* A library cannot support unknown fields. It returns an error, but only if the program sets one. */
static void a_new_program(void) {
    new_config config;
    CHECK_OK(lhttp_config_init(&config.known, sizeof config));
    CHECK(config.known.size == sizeof config && config.later == NULL);
    small_server(&config);
    serves(&config.known);
    config.later = &config;
    lhttp_server *server = NULL;
    CHECK_FAILS(LHTTP_ERROR_OPTION, "too old", lhttp_start(&config.known, &server));
    CHECK(server == NULL);
    config.later = NULL;
    CHECK_OK(lhttp_config_release(&config.known));
}

static void what_is_no_config(void) {
    lhttp_config config;
    lhttp_server *server;
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "config is NULL", lhttp_config_init(NULL, sizeof config));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "is not the size", lhttp_config_init(&config, 0));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "is not the size", lhttp_config_init(&config, sizeof config + 1));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "is not the size", lhttp_config_init(&config, (size_t)-8));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "misaligned", lhttp_config_init((void *)((char *)&config + 1), sizeof config));
    memset(&config, 0, sizeof config);
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "0 is not the size", lhttp_start(&config, &server));
    config.size = sizeof config;
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "config is NULL", lhttp_start(&config, &server));
    config.options = (lhttp_options *)&config;
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "is not a config", lhttp_start(&config, &server));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "config is NULL", lhttp_start(NULL, &server));
    CHECK_OK(lhttp_config_init(&config, sizeof config));
    CHECK_FAILS(LHTTP_ERROR_ARGUMENT, "server is NULL", lhttp_start(&config, NULL));
    CHECK_OK(lhttp_config_release(&config));
}

int main(void) {
    versions();
    options();
    a_filter_and_posts();
    an_old_program();
    a_new_program();
    what_is_no_config();
    puts("done");
    return 0;
}
