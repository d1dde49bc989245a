<?php
// Publishes, lists the channel, closes a user's connections: LHTTP_ADMIN=http://127.0.0.1:9091 php backend.php room anna
function call(string $path, ?array $body = null): string {
    $headers = ['Authorization: Bearer ' . getenv('LHTTP_ADMIN_KEY'), 'Content-Type: application/json'];
    $post = $body === null ? [] : ['method' => 'POST', 'content' => json_encode($body, JSON_THROW_ON_ERROR)];
    $context = stream_context_create(['http' => ['header' => $headers, 'timeout' => 10, ...$post]]);
    return file_get_contents(getenv('LHTTP_ADMIN') . $path, false, $context) ?: exit(1);
}

[, $channel, $user] = $argv;
echo call('/api/publish', ['channels' => [$channel], 'body' => 'hello']);
echo call('/api/channels?match=' . rawurlencode($channel));
echo call('/api/disconnect', ['user' => $user, 'reason' => 'bye']);
