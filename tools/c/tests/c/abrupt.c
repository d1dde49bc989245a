/* Leaves signals as a C program finds them: SIGPIPE kills. A core is held up in a callback until a subscriber has gone
 * away unseen, and then has much to send to it. At the end the program takes a SIGTERM, which must wait until its
 * thread wants it, and not come to one of the server's. */

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

#include "check.h"

static sem_t go_on;

static void say(const char *line) {
    puts(line);
    fflush(stdout);
}

static void hold_up(lhttp_context *context, void *user) {
    (void)user;
    CHECK(context != NULL);
    say("held up");
    CHECK(sem_wait(&go_on) == 0);
}

int main(void) {
    static char body[60000];
    lhttp_config config;
    lhttp_server *server;
    lhttp_processor processor = {.size = sizeof processor, .on_message = hold_up};
    sigset_t terminate;
    int signal_number;
    CHECK(sem_init(&go_on, 0, 0) == 0);
    CHECK_OK(lhttp_config_init(&config, sizeof config));
    CHECK_OK(lhttp_config_set(&config, "listen", "127.0.0.1:0"));
    CHECK_OK(lhttp_config_set(&config, "cores", "1"));
    CHECK_OK(lhttp_config_processor(&config, "hold-up", &processor));
    CHECK_OK(lhttp_start(&config, &server));
    CHECK_OK(lhttp_config_release(&config));
    /* Blocked after the start, as a program may do: the server's threads must have blocked it by themselves. */
    sigemptyset(&terminate);
    sigaddset(&terminate, SIGTERM);
    CHECK(pthread_sigmask(SIG_BLOCK, &terminate, NULL) == 0);
    printf("listening on 127.0.0.1:%d\n", lhttp_local_port(server));
    fflush(stdout);
    CHECK(getchar() == '\n');
    /* More than a turn collects before it writes, several times; in turns, so that what each subscriber gets lies apart
     * and is written with writev, which cannot be told to raise no signal. */
    for (int i = 0; i < 16; i++) {
        CHECK_OK(lhttp_publish(server, "room", "news", NULL, body, sizeof body));
        CHECK_OK(lhttp_publish(server, "other", "news", NULL, "small", 5));
    }
    CHECK(sem_post(&go_on) == 0);
    CHECK(getchar() == '\n');
    say("blocked");
    CHECK(getchar() == '\n');
    CHECK(sigwait(&terminate, &signal_number) == 0 && signal_number == SIGTERM);
    CHECK_OK(lhttp_stop(server, 0));
    return 0;
}
