# Publishes, lists the channel, closes a user's connections: LHTTP_ADMIN=http://127.0.0.1:9091 ruby backend.rb room anna
require "json"
require "net/http"

def call(path, body = nil)
  headers = { "Authorization" => "Bearer #{ENV["LHTTP_ADMIN_KEY"]}", "Content-Type" => "application/json" }
  uri = URI(ENV.fetch("LHTTP_ADMIN") + path)
  response = body ? Net::HTTP.post(uri, JSON.dump(body), headers) : Net::HTTP.get_response(uri, headers)
  response.is_a?(Net::HTTPSuccess) ? response.body : abort(response.body)
end

channel, user = ARGV
puts call("/api/publish", { channels: [channel], body: "hello" })
puts call("/api/channels?match=#{URI.encode_www_form_component(channel)}")
puts call("/api/disconnect", { user: user, reason: "bye" })
