//! What programs and people of this host can ask of the agent, without a server.
