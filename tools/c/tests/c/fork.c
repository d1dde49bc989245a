/* Every call in a forked child is an error, and the parent goes on. The parent has a server, a client of it, and threads
 * that are in the library all the time: at each fork a lock may be held. */

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define FORKED(call) CHECK_FAILS(LHTTP_ERROR_FORKED, "forked", call)

/* An alarm ends a process that hangs: a child after this many seconds, the parent after five times as many. */
enum { PATIENCE = 60, FORKS = 100 };

static lhttp_config config;
static lhttp_server *server;
static lhttp_client *client;
static lhttp_event *event;
static lhttp_replier *replier;
static atomic_int is_over;

static void on_fork(lhttp_context *context, void *user);

static void on_later(lhttp_context *context, void *user) {
    (void)user;
    replier = lhttp_context_replier(context);
    CHECK(replier != NULL);
    CHECK_OK(lhttp_send(context, "kept", 4));
}

static void configure(lhttp_config *config) {
    lhttp_processor later = {.size = sizeof later, .on_message = on_later};
    lhttp_processor forks = {.size = sizeof forks, .on_message = on_fork};
    CHECK_OK(lhttp_config_init(config, sizeof *config));
    CHECK_OK(lhttp_config_set(config, "listen", "127.0.0.1:0"));
    CHECK_OK(lhttp_config_set(config, "cores", "1"));
    CHECK_OK(lhttp_config_processor(config, "later", &later));
    CHECK_OK(lhttp_config_processor(config, "fork", &forks));
}

/* Waits for a child, and returns its status. */
static int end_of(pid_t child) {
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    return status;
}

static void expect_exit(pid_t child) {
    int status = end_of(child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A child that was forked before the first call has its own library. */
static void before_the_first_call(void) {
    CHECK(strcmp(lhttp_version(), LHTTP_VERSION) == 0);
    CHECK(lhttp_last_code() == 0 && strcmp(lhttp_last_error(), "") == 0);
    pid_t child = fork();
    if (child == 0) {
        alarm(PATIENCE);
        configure(&config);
        CHECK_OK(lhttp_start(&config, &server));
        CHECK_OK(lhttp_publish(server, "room", "chat", NULL, "hello", 5));
        CHECK_OK(lhttp_stop(server, 0));
        _exit(0);
    }
    expect_exit(child);
}

/* The next message of the client must have this command. */
static lhttp_event *next(const char *command) {
    lhttp_event *message;
    lhttp_status status;
    /* A poll returns no event when a signal comes, for example SIGCHLD of a child that another thread has forked. */
    do
        status = lhttp_client_poll(client, 1000 * PATIENCE, &message);
    while (status == LHTTP_NOTHING);
    CHECK_OK(status);
    CHECK(lhttp_event_kind(message) == LHTTP_EVENT_MESSAGE);
    CHECK(strcmp(lhttp_event_command(message), command) == 0);
    return message;
}

static void in_the_child(void) {
    lhttp_config other;
    lhttp_server *started = NULL;
    lhttp_client *connected = NULL;
    lhttp_event *polled = NULL;
    lhttp_processor processor = {.size = sizeof processor};
    lhttp_filter filter = {.size = sizeof filter};
    size_t len = 1;
    FORKED(lhttp_publish(server, "room", "chat", NULL, "hello", 5));
    FORKED(lhttp_stop(server, 5000));
    CHECK(lhttp_local_port(server) == 0);
    FORKED(lhttp_replier_send(replier, "late", 4));
    FORKED(lhttp_replier_reply(replier, "chat", NULL, "late", 4));
    FORKED(lhttp_replier_close(replier, 1000, NULL));
    FORKED(lhttp_replier_release(replier));
    FORKED(lhttp_client_connect("ws://127.0.0.1:1", NULL, &connected));
    FORKED(lhttp_client_subscribe(client, "other"));
    FORKED(lhttp_client_subscribe_from(client, "other", NULL, 1));
    FORKED(lhttp_client_subscribe_with_info(client, "other", "hello", NULL, 0));
    FORKED(lhttp_client_presence(client, "other", &polled));
    FORKED(lhttp_client_unsubscribe(client, "room"));
    FORKED(lhttp_client_publish(client, "room", "chat", NULL, "hello", 5));
    FORKED(lhttp_client_send(client, "chat", NULL, "hello", 5));
    FORKED(lhttp_client_poll(client, 1000, &polled));
    FORKED(lhttp_client_close(client));
    CHECK(lhttp_event_kind(event) == LHTTP_EVENT_NONE);
    CHECK(lhttp_event_command(event) == NULL && lhttp_event_body(event, &len) == NULL);
    CHECK(lhttp_event_member_count(event) == 0 && lhttp_event_member_user(event, 0) == NULL);
    CHECK(lhttp_event_left_count(event) == 0 && lhttp_event_left_user(event, 0) == NULL);
    CHECK(lhttp_event_users(event) == 0 && lhttp_event_more(event) == 0);
    FORKED(lhttp_event_release(event));
    FORKED(lhttp_log(LHTTP_LOG_OFF, NULL, NULL));
    FORKED(lhttp_config_init(&other, sizeof other));
    FORKED(lhttp_config_set(&config, "cores", "1"));
    FORKED(lhttp_config_processor(&config, "c", &processor));
    FORKED(lhttp_config_filter(&config, &filter));
    FORKED(lhttp_start(&config, &started));
    FORKED(lhttp_config_release(&config));
    CHECK(started == NULL && connected == NULL && polled == NULL);
    CHECK(strcmp(lhttp_version(), LHTTP_VERSION) == 0);
    CHECK(strstr(lhttp_strerror(LHTTP_ERROR_FORKED), "forked") != NULL);
    /* The calls fail in a child of the child, too. */
    pid_t child = fork();
    if (child == 0) {
        FORKED(lhttp_publish(server, "room", "chat", NULL, "hello", 5));
        _exit(0);
    }
    expect_exit(child);
}

/* These threads are in the library all the time, and so in its locks. */
static void *busy(void *nothing) {
    while (!is_over) {
        lhttp_config own;
        lhttp_status status = lhttp_publish(server, "elsewhere", "chat", NULL, "busy", 4);
        CHECK(status == LHTTP_OK || status == LHTTP_ERROR_FULL);
        CHECK_OK(lhttp_config_init(&own, sizeof own));
        CHECK_OK(lhttp_config_release(&own));
    }
    return nothing;
}

static void forks_while_others_are_busy(void) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], NULL, busy, NULL) == 0);
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(PATIENCE);
            in_the_child();
            _exit(0);
        }
        expect_exit(child);
    }
    is_over = 1;
    for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

/* A child is forked in a callback and returns from it. It must not become a second core of the server. */
static void on_fork(lhttp_context *context, void *user) {
    pid_t child = fork();
    if (child == 0) {
        alarm(PATIENCE);
        CHECK(freopen("/dev/null", "w", stderr) != NULL); /* its output when it ends */
        FORKED(lhttp_send(context, "from the child", 14));
        CHECK(lhttp_context_command(context) == NULL);
        return;
    }
    int status = end_of(child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK_OK(lhttp_send(context, "forked", 6));
    (void)user;
}

int main(void) {
    char url[64];
    alarm(5 * PATIENCE);
    before_the_first_call();

    configure(&config);
    CHECK_OK(lhttp_start(&config, &server));
    snprintf(url, sizeof url, "ws://127.0.0.1:%d", lhttp_local_port(server));
    CHECK_OK(lhttp_client_connect(url, NULL, &client));
    CHECK_OK(lhttp_client_subscribe(client, "room"));
    CHECK_OK(lhttp_client_send(client, "later", NULL, NULL, 0));
    event = next("later");

    forks_while_others_are_busy();

    CHECK_OK(lhttp_client_send(client, "fork", NULL, NULL, 0));
    CHECK_OK(lhttp_event_release(next("fork")));

    /* Nothing has changed for the parent. */
    CHECK_OK(lhttp_publish(server, "room", "chat", NULL, "hello", 5));
    CHECK_OK(lhttp_event_release(next("chat")));
    CHECK_OK(lhttp_replier_send(replier, "late", 4));
    CHECK_OK(lhttp_event_release(next("later")));
    CHECK_OK(lhttp_replier_release(replier));
    CHECK_OK(lhttp_event_release(event));
    CHECK_OK(lhttp_client_close(client));
    CHECK_OK(lhttp_stop(server, 5000));
    CHECK_OK(lhttp_config_release(&config));
    puts("done");
    return 0;
}
